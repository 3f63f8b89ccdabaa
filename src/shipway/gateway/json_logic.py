"""JSON Logic as flagd uses it, compiled to functions when a flag is loaded; `gateway.flags` evaluates them.

Source: jsonlogic.com/operations.html for the standard operators, the flagd specification for `fractional`,
`starts_with`, `ends_with` and `sem_ver`. An unknown operator, a missing operand or a weight that is no whole number is
refused here, when the flag is loaded, never found out by a request.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from shipway.core.errors import UsageError
from shipway.gateway.murmur import murmur3_32
from shipway.gateway.versions import version_matches

Context = Mapping[str, Any]
Logic = Callable[[Context], Any]
Binary = Callable[[Any, Any], Any]

TARGETING_KEY = "targetingKey"
FLAGD = "$flagd"
_DEEPEST = 64
_MOST_WEIGHT = 2**31 - 1
_BOTH = 2
_THREE = 3


def compiled(node: Any, where: str, *, depth: int = 0) -> Logic:
    """Return the function of a rule; `where` names it in messages.

    Raises:
        UsageError: an unknown operator or operands that it cannot have.
    """
    if depth > _DEEPEST:
        raise UsageError(f"{where}: nested more than {_DEEPEST} levels deep")
    if isinstance(node, list):
        items = [compiled(item, f"{where}[{index}]", depth=depth + 1) for index, item in enumerate(node)]
        return lambda context: [item(context) for item in items]
    if not isinstance(node, dict) or not node:
        return lambda _context: node
    if len(node) != 1:
        raise UsageError(f"{where}: a rule has one operator, this has {len(node)}: {', '.join(sorted(node))}")
    name, operands = next(iter(node.items()))
    build = _OPERATORS.get(name)
    if build is None:
        raise UsageError(f"{where}: unknown operator {name!r}; known: {', '.join(sorted(_OPERATORS))}")
    given = operands if isinstance(operands, list) else [operands]
    if name == "fractional":
        return _fractional(given, f"{where}.fractional", depth)
    here = f"{where}.{name}"
    return build([compiled(item, f"{here}[{index}]", depth=depth + 1) for index, item in enumerate(given)], here)


def is_true(value: Any) -> bool:
    """Return JSON Logic's truth: empty lists and texts, 0, null and false are not true."""
    return bool(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return 0.0 if value is None else None


def _loosely_equal(left: Any, right: Any) -> bool:
    if type(left) is type(right) or left is None or right is None:
        return bool(left == right)
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        return False
    a, b = _number(left), _number(right)
    return a is not None and a == b


def _strictly_equal(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Binary:
    def ordered(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return compare(left, right)
        a, b = _number(left), _number(right)
        return a is not None and b is not None and compare(a, b)

    return ordered


def _chain(compare: Binary) -> Callable[[list[Logic], str], Logic]:
    def build(items: list[Logic], where: str) -> Logic:
        if len(items) == _THREE:
            first, middle, last = items
            return lambda context: compare(first(context), value := middle(context)) and compare(value, last(context))
        left, right = _exactly(items, _BOTH, where)
        return lambda context: compare(left(context), right(context))

    return build


def _pair(apply: Binary) -> Callable[[list[Logic], str], Logic]:
    def build(items: list[Logic], where: str) -> Logic:
        left, right = _exactly(items, _BOTH, where)
        return lambda context: apply(left(context), right(context))

    return build


def _folded(apply: Callable[[Sequence[float]], float | None]) -> Callable[[list[Logic], str], Logic]:
    def build(items: list[Logic], where: str) -> Logic:
        if not items:
            raise UsageError(f"{where}: needs at least one operand")

        def fold(context: Context) -> float | int | None:
            numbers = [_number(item(context)) for item in items]
            if any(number is None for number in numbers):
                return None
            found = apply([number for number in numbers if number is not None])
            return int(found) if found is not None and found.is_integer() else found

        return fold

    return build


def _exactly(items: list[Logic], count: int, where: str) -> list[Logic]:
    if len(items) != count:
        raise UsageError(f"{where}: takes {count} operands, this has {len(items)}")
    return items


def _var(items: list[Logic], where: str) -> Logic:
    if not 1 <= len(items) <= _BOTH:
        raise UsageError(f"{where}: takes a name and perhaps a default")
    path, *rest = items
    default = rest[0] if rest else (lambda _context: None)

    def read(context: Context) -> Any:
        found = _lookup(context, path(context))
        return default(context) if found is None else found

    return read


def _lookup(context: Any, path: Any) -> Any:
    if path in {None, ""}:
        return context
    value: Any = context
    for part in str(path).split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _missing(items: list[Logic], _where: str) -> Logic:
    def missing(context: Context) -> list[Any]:
        names = [item(context) for item in items]
        flat = names[0] if len(names) == 1 and isinstance(names[0], list) else names
        return [name for name in flat if _lookup(context, name) in {None, ""}]

    return missing


def _missing_some(items: list[Logic], where: str) -> Logic:
    least, names = _exactly(items, _BOTH, where)

    def missing(context: Context) -> list[Any]:
        wanted = names(context)
        gone = [name for name in wanted if _lookup(context, name) in {None, ""}]
        return [] if len(wanted) - len(gone) >= (_number(least(context)) or 0) else gone

    return missing


def _if(items: list[Logic], _where: str) -> Logic:
    pairs = list(zip(items[::2], items[1::2], strict=False))
    otherwise = items[-1] if len(items) % 2 else (lambda _context: None)

    def choose(context: Context) -> Any:
        for condition, then in pairs:
            if is_true(condition(context)):
                return then(context)
        return otherwise(context)

    return choose


def _and(items: list[Logic], _where: str) -> Logic:
    def both(context: Context) -> Any:
        value: Any = True
        for item in items:
            value = item(context)
            if not is_true(value):
                return value
        return value

    return both


def _or(items: list[Logic], _where: str) -> Logic:
    def either(context: Context) -> Any:
        value: Any = False
        for item in items:
            value = item(context)
            if is_true(value):
                return value
        return value

    return either


def _not(items: list[Logic], where: str) -> Logic:
    (item,) = _exactly(items, 1, where)
    return lambda context: not is_true(item(context))


def _truth(items: list[Logic], where: str) -> Logic:
    (item,) = _exactly(items, 1, where)
    return lambda context: is_true(item(context))


def _over(decide: Callable[[list[bool]], Any]) -> Callable[[list[Logic], str], Logic]:
    def build(items: list[Logic], where: str) -> Logic:
        source, test = _exactly(items, _BOTH, where)

        def over(context: Context) -> Any:
            found = source(context)
            return decide([is_true(test(item)) for item in found] if isinstance(found, list) else [])

        return over

    return build


def _filter(items: list[Logic], where: str) -> Logic:
    source, test = _exactly(items, _BOTH, where)

    def kept(context: Context) -> list[Any]:
        found = source(context)
        return [item for item in found if is_true(test(item))] if isinstance(found, list) else []

    return kept


def _map(items: list[Logic], where: str) -> Logic:
    source, change = _exactly(items, _BOTH, where)

    def mapped(context: Context) -> list[Any]:
        found = source(context)
        return [change(item) for item in found] if isinstance(found, list) else []

    return mapped


def _merge(items: list[Logic], _where: str) -> Logic:
    def merged(context: Context) -> list[Any]:
        values = [item(context) for item in items]
        return [part for value in values for part in (value if isinstance(value, list) else [value])]

    return merged


def _cat(items: list[Logic], _where: str) -> Logic:
    return lambda context: "".join(_shown(item(context)) for item in items)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _contains(part: Any, whole: Any) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    return isinstance(whole, list) and part in whole


def _starts(text: Any, part: Any) -> bool:
    return isinstance(text, str) and isinstance(part, str) and text.startswith(part)


def _ends(text: Any, part: Any) -> bool:
    return isinstance(text, str) and isinstance(part, str) and text.endswith(part)


def _sem_ver(items: list[Logic], where: str) -> Logic:
    left, operator, right = _exactly(items, _THREE, where)
    return lambda context: version_matches(left(context), operator(context), right(context))


def _fractional(given: list[Any], where: str, depth: int) -> Logic:
    """Return the split by hash; without a bucketing expression it goes by flag key and targeting key."""
    by: Logic | None = None
    if given and not isinstance(given[0], list):
        by, given = compiled(given[0], f"{where}[0]", depth=depth + 1), given[1:]
    if not given:
        raise UsageError(f"{where}: names no variants")
    shares = [_share(item, f"{where}[{index}]", depth) for index, item in enumerate(given)]
    known = [weight for _, weight in shares if isinstance(weight, int)]
    if len(known) == len(shares) and not 0 < sum(known) <= _MOST_WEIGHT:
        raise UsageError(f"{where}: the weights sum to {sum(known)}; they must sum to 1 to {_MOST_WEIGHT}")

    def split(context: Context) -> Any:
        text = by(context) if by is not None else None
        if not isinstance(text, str):
            key = context.get(TARGETING_KEY)
            if not isinstance(key, str):
                return None
            text = f"{context.get(FLAGD, {}).get('flagKey', '')}{key}"
        weights = [weight if isinstance(weight, int) else weight(context) for _, weight in shares]
        if not all(map(_is_weight, weights)) or sum(weights) > _MOST_WEIGHT:
            return None
        bucket = (murmur3_32(text.encode()) * sum(weights)) >> 32
        for (variant, _), end in zip(shares, accumulate(weights), strict=True):
            if bucket < end:
                return variant(context)
        return None

    return split


def _share(item: Any, where: str, depth: int) -> tuple[Logic, int | Logic]:
    if not isinstance(item, list) or not 1 <= len(item) <= _BOTH:
        raise UsageError(f"{where}: a share is [variant] or [variant, weight]")
    weight = item[1] if len(item) == _BOTH and item[1] is not None else 1
    variant = compiled(item[0], f"{where}[0]", depth=depth + 1)
    if isinstance(weight, dict):
        return variant, compiled(weight, f"{where}[1]", depth=depth + 1)
    if not _is_weight(weight):
        raise UsageError(f"{where}: the weight {weight!r} is not a whole number from 0 to {_MOST_WEIGHT}")
    return variant, weight


def _is_weight(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_WEIGHT


def _minus(numbers: Sequence[float]) -> float | None:
    return -numbers[0] if len(numbers) == 1 else numbers[0] - numbers[1]


def _product(numbers: Sequence[float]) -> float:
    found = 1.0
    for number in numbers:
        found *= number
    return found


def _quotient(numbers: Sequence[float]) -> float | None:
    return numbers[0] / numbers[1] if len(numbers) == _BOTH and numbers[1] else None


def _remainder(numbers: Sequence[float]) -> float | None:
    return numbers[0] % numbers[1] if len(numbers) == _BOTH and numbers[1] else None


def _taken_by_split(_items: list[Logic], where: str) -> Logic:
    raise UsageError(f"{where}: has no operands")


_OPERATORS: Mapping[str, Callable[[list[Logic], str], Logic]] = {
    "var": _var,
    "missing": _missing,
    "missing_some": _missing_some,
    "if": _if,
    "and": _and,
    "or": _or,
    "!": _not,
    "!!": _truth,
    "==": _pair(_loosely_equal),
    "!=": _pair(lambda a, b: not _loosely_equal(a, b)),
    "===": _pair(_strictly_equal),
    "!==": _pair(lambda a, b: not _strictly_equal(a, b)),
    ">": _pair(_ordered(lambda a, b: a > b)),
    ">=": _pair(_ordered(lambda a, b: a >= b)),
    "<": _chain(_ordered(lambda a, b: a < b)),
    "<=": _chain(_ordered(lambda a, b: a <= b)),
    "max": _folded(max),
    "min": _folded(min),
    "+": _folded(sum),
    "-": _folded(_minus),
    "*": _folded(_product),
    "/": _folded(_quotient),
    "%": _folded(_remainder),
    "all": _over(lambda found: bool(found) and all(found)),
    "some": _over(any),
    "none": _over(lambda found: not any(found)),
    "filter": _filter,
    "map": _map,
    "merge": _merge,
    "cat": _cat,
    "in": _pair(_contains),
    "starts_with": _pair(_starts),
    "ends_with": _pair(_ends),
    "sem_ver": _sem_ver,
    "fractional": _taken_by_split,
}
