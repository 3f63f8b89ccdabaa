"""What an evaluation will cost and has cost: the estimate before its first call, and the meter that ends it in time.

The evaluation service estimates and asks; the runner reserves before every call and settles after it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shipway.core.errors import UsageError
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
    "" when they are.
    """

    usd_in: float | None = None
    usd_out: float | None = None
    tokens_in: float = 0.0
    tokens_out: float = 0.0
    basis: str = "the length of the questions alone"
    whole: bool = False
    unknown: str = ""

    def usd(self, tokens_in: float, tokens_out: float) -> float | None:
        """Return the price of tokens."""
        if self.usd_in is None or self.usd_out is None:
            return None
        return (tokens_in * self.usd_in + tokens_out * self.usd_out) / _PER_PRICE


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls took; `usd` is None when some had no price."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0

    @property
    def tokens(self) -> int:
        """Both kinds together, as caps count them."""
        return self.tokens_in + self.tokens_out

    def plus(self, calls: int, tokens_in: float, tokens_out: float, usd: float | None) -> "Spent":
        """Return the sum."""
        both = None if self.usd is None or usd is None else self.usd + usd
        return Spent(self.calls + calls, round(self.tokens_in + tokens_in), round(self.tokens_out + tokens_out), both)


def total_of(parts: Iterable[Spent]) -> Spent:
    """Return the sum."""
    total = Spent()
    for part in parts:
        total = total.plus(part.calls, part.tokens_in, part.tokens_out, part.usd)
    return total


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is expected to take; `basis` says by what.

    `unknown` says why the length of answers is not known, "" when it is; `spent` holds none for them then.
    """

    spent: Spent
    basis: str
    unknown: str = ""


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

    def excess(self, spent: Spent) -> str:
        """Return in words which cap an amount is over; "" when it is within both."""
        if self.tokens is not None and spent.tokens > self.tokens:
            return f"{spent.tokens:,} tokens, and the budget is {self.tokens:,}"
        if self.usd is not None and spent.usd is not None and spent.usd > self.usd:
            return f"${spent.usd:,.4f}, and the budget is ${self.usd:,.4f}"
        return ""


def estimate(cases: Sequence[Case], repeats: int, charges: Mapping[str, Charge]) -> Estimate:
    """Return what asking every target every case takes, before anything is asked."""
    total = Spent()
    own = sum(_tokens_of(case) for case in cases)
    for charge in charges.values():
        calls = len(cases) * repeats
        tokens_in = calls * charge.tokens_in + (0.0 if charge.whole else own * repeats)
        tokens_out = calls * charge.tokens_out
        total = total.plus(calls, tokens_in, tokens_out, charge.usd(tokens_in, tokens_out))
    unknown = "; ".join(dict.fromkeys(charge.unknown for charge in charges.values() if charge.unknown))
    if unknown:
        total = replace(total, usd=None)
    return Estimate(total, "; ".join(dict.fromkeys(charge.basis for charge in charges.values())), unknown)


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
    `demand_prices` refuses that.
    """

    charges: Mapping[str, Charge]
    caps: Caps = field(default_factory=Caps)
    spent: Spent = field(default_factory=Spent)
    _open: Spent = field(default_factory=Spent)
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def demand_prices(self) -> None:
        """Refuse a cap in dollars that nobody can obey.

        Raises:
            UsageError: a target without a price.
        """
        free = [name for name, charge in self.charges.items() if charge.usd_in is None]
        if self.caps.usd is not None and free:
            raise UsageError(
                f"a budget of ${self.caps.usd:g} cannot be held: nobody names the price of {', '.join(free)}",
                hint="write `price` at the model in shipway.yaml, or cap the tokens: --budget-tokens N",
            )

    def reserve(self, target: str, case: Case) -> Reserved | None:
        """Return the ticket of a call, or None when it may not be made."""
        asked = self._expected(target, case)
        if self.caps.usd is not None or self.caps.tokens is not None:
            both = self.spent.plus(0, self._open.tokens_in, self._open.tokens_out, self._open.usd)
            if self.caps.excess(both.plus(1, asked.tokens_in, asked.tokens_out, asked.usd)):
                return None
        self._open = self._open.plus(1, asked.tokens_in, asked.tokens_out, asked.usd)
        return asked

    def add(self, kept: Mapping[str, Spent]) -> None:
        """Count what the answers that are kept took, by target; they also tell how long answers are."""
        self.spent = total_of([self.spent, *kept.values()])
        for target, spent in kept.items():
            self._seen[target] = _Seen(spent.calls, spent.tokens_in, spent.tokens_out)

    def settle(self, target: str, ticket: Reserved, output: Output) -> Output:
        """Count what a call took; return the answer with its price where only its tokens were told.

        One that claims to have taken what no call can is an error, and its claim is not counted.
        """
        usd = None if ticket.usd is None else -ticket.usd
        self._open = self._open.plus(-1, -ticket.tokens_in, -ticket.tokens_out, usd)
        charge = self.charges.get(target, Charge())
        output = _priced(output, charge)
        cost = output.cost_usd
        if output.cached:
            return output
        # Nothing was generated where no token is told of: that is for nothing, whoever answered.
        free = 0.0 if charge.usd_in is not None or not (output.tokens_in or output.tokens_out) else None
        self.spent = self.spent.plus(1, output.tokens_in, output.tokens_out, free if cost is None else cost)
        if output.error is None:
            seen = self._seen.setdefault(target, _Seen())
            seen.calls += 1
            seen.tokens_in += output.tokens_in
            seen.tokens_out += output.tokens_out
        return output

    def _expected(self, target: str, case: Case) -> Reserved:
        charge, seen = self.charges.get(target, Charge()), self._seen.get(target)
        tokens_in = charge.tokens_in + (0.0 if charge.whole else _tokens_of(case))
        tokens_out = charge.tokens_out
        if seen is not None and seen.calls:
            mean_in, mean_out = seen.tokens_in / seen.calls, seen.tokens_out / seen.calls
            learnt = seen.calls >= _LEARNT_AFTER
            # Few answers may be short by chance; that they are longer than supposed is taken at its word.
            tokens_in = mean_in if learnt else max(tokens_in, mean_in)
            tokens_out = mean_out if learnt else max(tokens_out, mean_out)
        return Reserved(tokens_in, tokens_out, charge.usd(tokens_in, tokens_out))


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
