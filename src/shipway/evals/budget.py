"""What an evaluation will cost and has cost: the estimate before its first call, and the meter that ends it in time.

The evaluation service estimates and asks; the runner reserves before every call and settles after it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shipway.core.counting import dollars
from shipway.core.errors import UsageError
from shipway.core.record import ABSTAINED
from shipway.evals.model import Case, Output

_CHARS_PER_TOKEN = 3.6
_PER_PRICE = 1_000_000
_MOST_USD, _MOST_TOKENS = 1e6, 10**12
"""A call that claims to have taken more is a mistake of who tells it."""
_LEARNT_AFTER = 20
"""Answers after which their mean says more than what was supposed before."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call of a target takes: US dollars per million tokens, None when nobody names a price.

    `tokens_in` are those of a call beside the case's own text, or with it when they are `whole`; `tokens_out` those of
    an answer. `basis` says where the numbers are from. `unknown` says why `tokens_out` are not known, and what to do;
    "" when they are. A target that `tells` knows alone what its calls take, and says so with its answers if at all;
    `usd_call` is what one took on average. Answers that are `replayed` take nothing.
    """

    usd_in: float | None = None
    usd_out: float | None = None
    tokens_in: float = 0.0
    tokens_out: float = 0.0
    basis: str = "the length of the questions alone"
    whole: bool = False
    unknown: str = ""
    tells: bool = False
    usd_call: float | None = None
    replayed: bool = False

    def usd(self, tokens_in: float, tokens_out: float) -> float | None:
        """Return the price of tokens."""
        if self.usd_in is None or self.usd_out is None:
            return None
        return (tokens_in * self.usd_in + tokens_out * self.usd_out) / _PER_PRICE

    def expected_usd(self, calls: int, tokens_in: float, tokens_out: float) -> float | None:
        """Return what calls are expected to cost."""
        if self.replayed:
            return 0.0
        return self.usd(tokens_in, tokens_out) if self.usd_call is None else calls * self.usd_call


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls took; `usd` is None when some had no price, `untold` how many said nothing of tokens or cost."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0
    untold: int = field(default=0, compare=False)

    @property
    def tokens(self) -> int:
        """Both kinds together, as caps count them."""
        return self.tokens_in + self.tokens_out

    def plus(self, calls: int, tokens_in: float, tokens_out: float, usd: float | None) -> "Spent":
        """Return the sum."""
        both = None if self.usd is None or usd is None else self.usd + usd
        tokens = round(self.tokens_in + tokens_in), round(self.tokens_out + tokens_out)
        return Spent(self.calls + calls, *tokens, both, self.untold)


def total_of(parts: Iterable[Spent]) -> Spent:
    """Return the sum."""
    total = Spent()
    for part in parts:
        total = total.plus(part.calls, part.tokens_in, part.tokens_out, part.usd)
        total = replace(total, untold=total.untold + part.untold)
    return total


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take; `basis` says by what.

    `unknown` says why the length of answers is not known, "" when it is; `spent` holds none for them then. Of a
    `blind` one nobody knows how long prompts are either. `judge` is the judge's share, which `spent` holds as well;
    None without a judge that costs anything.
    """

    spent: Spent
    basis: str
    unknown: str = ""
    blind: bool = False
    judge: Spent | None = None

    def with_judge(self, judge: Spent, basis: str) -> "Estimate":
        """Return the estimate with what judging the answers takes."""
        total = total_of([self.spent, judge])
        return replace(self, spent=total, basis=f"{self.basis}; the judge by {basis}", judge=judge)


@dataclass(frozen=True, slots=True)
class Caps:
    """What a run may take; None is no cap.

    Raises:
        UsageError: a number of dollars that is none.
    """

    usd: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse what looks like a cap and holds nothing back."""
        if self.usd is not None and not math.isfinite(self.usd):
            raise UsageError(
                f"a budget of {self.usd} dollars is no budget", hint="write a number such as 2.5, or none for no cap"
            )

    def share(self, part: int, whole: int) -> "Caps":
        """Return the part of a budget that so many of all cases have."""
        usd = None if self.usd is None else self.usd * part / whole
        return Caps(usd, None if self.tokens is None else self.tokens * part // whole)

    def excess(self, spent: Spent) -> str:
        """Return in words which cap an amount is over; "" when it is within both."""
        if self.tokens is not None and spent.tokens > self.tokens:
            return f"{spent.tokens:,} tokens, and the budget is {self.tokens:,}"
        if self.usd is not None and spent.usd is not None and spent.usd > self.usd:
            return f"${dollars(spent.usd)}, and the budget is ${dollars(self.usd)}"
        return ""


def estimate(cases: Sequence[Case], repeats: int, charges: Mapping[str, Charge]) -> Estimate:
    """Return what asking every target every case takes, before anything is asked."""
    total = Spent()
    own = sum(_tokens_of(case) for case in cases)
    for charge in charges.values():
        calls = len(cases) * repeats
        tokens_in = calls * charge.tokens_in + (0.0 if charge.whole else own * repeats)
        tokens_out = calls * charge.tokens_out
        total = total.plus(calls, tokens_in, tokens_out, charge.expected_usd(calls, tokens_in, tokens_out))
    unknown = "; ".join(dict.fromkeys(charge.unknown for charge in charges.values() if charge.unknown))
    if unknown:
        total = replace(total, usd=None)
    blind = any(charge.unknown and charge.tells for charge in charges.values())
    return Estimate(total, "; ".join(dict.fromkeys(charge.basis for charge in charges.values())), unknown, blind)


@dataclass(slots=True)
class _Seen:
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a call is expected to take; settled when it has ended."""

    tokens_in: float
    tokens_out: float
    usd: float | None


@dataclass(slots=True)
class Meter:
    """Counts what calls take and refuses the one that would exceed a cap.

    Calls in flight count as what they are expected to take: what was supposed or the mean of the answers so far,
    whichever is more, and after 20 answers their mean. A cap in dollars holds nothing back where a target has no price;
    `demand_prices` refuses that. `answers` and `judged` hold what was taken so far.
    """

    charges: Mapping[str, Charge]
    caps: Caps = field(default_factory=Caps)
    answers: Spent = field(default_factory=Spent)
    judged: Spent = field(default_factory=Spent)
    _open: Spent = field(default_factory=Spent)
    _seen: dict[str, _Seen] = field(default_factory=dict)

    @property
    def spent(self) -> Spent:
        """What answers and judgements took together."""
        return total_of([self.answers, self.judged])

    @property
    def is_blind(self) -> bool:
        """Whether a cap in dollars cannot be held any more: an answer did not tell its cost."""
        return self.caps.usd is not None and self.spent.usd is None

    def demand_prices(self) -> None:
        """Refuse a cap in dollars that nobody can obey.

        Raises:
            UsageError: a target without a price.
        """
        free = [
            name
            for name, charge in self.charges.items()
            if charge.usd_in is None and not charge.tells and not charge.replayed
        ]
        if self.caps.usd is not None and free:
            raise UsageError(
                f"a budget of ${self.caps.usd:g} cannot be held: nobody names the price of {', '.join(free)}",
                hint="write `price` at the model in shipway.yaml, or cap the tokens: --budget-tokens N",
            )

    def reserve(self, target: str, case: Case) -> Reserved | None:
        """Return the ticket of a call, or None when it may not be made."""
        return self._taken(self._expected(target, _tokens_of(case)))

    def reserve_judge(self, judge: str, chars: int) -> Reserved | None:
        """Return the ticket of a call of the judge with a prompt of so many characters, or None."""
        expected = self._expected(judge, chars / _CHARS_PER_TOKEN)
        return self._taken(expected)

    def add(self, kept: Mapping[str, Spent], judged: Spent | None = None) -> None:
        """Count what the answers that are kept took, by target; they also tell how long answers are."""
        self.answers = total_of([self.answers, *(self._believed(name, spent) for name, spent in kept.items())])
        self.judged = total_of([self.judged, judged or Spent()])
        for target, spent in kept.items():
            self._seen[target] = _Seen(spent.calls, spent.tokens_in, spent.tokens_out)

    def settle(self, target: str, ticket: Reserved, output: Output) -> Output:
        """Count what a call took; return the answer with its price where only its tokens were told.

        One that claims to have taken what no call can is an error, and its claim is not counted.
        """
        self._close(ticket)
        charge = self.charges.get(target, Charge())
        output = _priced(output, charge)
        if output.cached:
            return output
        if charge.replayed:
            self.answers = self.answers.plus(1, 0, 0, 0.0)
            return output
        cost = output.cost_usd
        if cost is None:
            cost = None if charge.tells and is_untold(output) else _free(output, charge)
        self.answers = self.answers.plus(1, output.tokens_in, output.tokens_out, cost)
        if output.error is None:
            self._learn(target, output.tokens_in, output.tokens_out)
        return output

    def settle_judge(self, judge: str, ticket: Reserved, tokens_in: int, tokens_out: int) -> Spent:
        """Count what a call of the judge took, and return that; 0 where it failed."""
        self._close(ticket)
        usd = self.charges.get(judge, Charge()).usd(tokens_in, tokens_out) if tokens_in or tokens_out else 0.0
        spent = Spent(1, tokens_in, tokens_out, usd)
        self.judged = total_of([self.judged, spent])
        if tokens_in or tokens_out:
            self._learn(judge, tokens_in, tokens_out)
        return spent

    def _believed(self, target: str, kept: Spent) -> Spent:
        charge = self.charges.get(target, Charge())
        if charge.replayed:
            return Spent(kept.calls)
        return replace(kept, usd=None) if charge.tells and kept.untold else kept

    def _taken(self, asked: Reserved) -> Reserved | None:
        if self.caps.usd is not None or self.caps.tokens is not None:
            both = self.spent.plus(0, self._open.tokens_in, self._open.tokens_out, self._open.usd)
            if self.is_blind or self.caps.excess(both.plus(1, asked.tokens_in, asked.tokens_out, asked.usd)):
                return None
        self._open = self._open.plus(1, asked.tokens_in, asked.tokens_out, asked.usd)
        return asked

    def _close(self, ticket: Reserved) -> None:
        usd = None if ticket.usd is None else -ticket.usd
        self._open = self._open.plus(-1, -ticket.tokens_in, -ticket.tokens_out, usd)

    def _learn(self, name: str, tokens_in: int, tokens_out: int) -> None:
        seen = self._seen.setdefault(name, _Seen())
        seen.calls += 1
        seen.tokens_in += tokens_in
        seen.tokens_out += tokens_out

    def _expected(self, target: str, own: float) -> Reserved:
        charge, seen = self.charges.get(target, Charge()), self._seen.get(target)
        if charge.replayed:
            return Reserved(0.0, 0.0, 0.0)
        tokens_in = charge.tokens_in + (0.0 if charge.whole else own)
        tokens_out = charge.tokens_out
        if seen is not None and seen.calls:
            mean_in, mean_out = seen.tokens_in / seen.calls, seen.tokens_out / seen.calls
            learnt = seen.calls >= _LEARNT_AFTER
            # Few answers may be short by chance; that they are longer than supposed is taken at its word.
            tokens_in = mean_in if learnt else max(tokens_in, mean_in)
            tokens_out = mean_out if learnt else max(tokens_out, mean_out)
        return Reserved(tokens_in, tokens_out, charge.expected_usd(1, tokens_in, tokens_out))


def is_untold(output: Output) -> bool:
    """Tell whether an answer was given of which nobody knows what it took."""
    return output.error is None and ABSTAINED not in output.events


def _free(output: Output, charge: Charge) -> float | None:
    # Nothing was generated where no token is told of: that is for nothing, whoever answered.
    return 0.0 if charge.usd_in is not None or not (output.tokens_in or output.tokens_out) else None


def _priced(output: Output, charge: Charge) -> Output:
    tokens = (output.tokens_in, output.tokens_out)
    if not all(0 <= count <= _MOST_TOKENS for count in tokens):
        most = f"the target told more than {_MOST_TOKENS:,} tokens of one call, or fewer than 0: correct its usage"
        return replace(output, tokens_in=0, tokens_out=0, cost_usd=None, error=output.error or most)
    cost = output.cost_usd
    if cost is None and any(tokens):
        cost = charge.usd(*tokens)
    if cost is not None and not 0 <= cost <= _MOST_USD:
        said = f"the target told a cost of {cost:g} dollars, which no call takes: correct its cost_usd or its price"
        return replace(output, cost_usd=None, tokens_in=0, tokens_out=0, error=output.error or said)
    return output if cost == output.cost_usd else replace(output, cost_usd=cost)


def _tokens_of(case: Case) -> float:
    if not case.messages:
        return len(case.question) / _CHARS_PER_TOKEN
    told = sum(len(str(message.get("content", ""))) for message in case.messages)
    return (len(case.question) + told) / _CHARS_PER_TOKEN
