"""Personal data in a text: where it stands. Assertions, dataset checks and readiness use it.

Numbers with a check digit are only found when it is right, so that order numbers and prices are not mistaken for
accounts and cards. All patterns run in time linear in the text.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PiiHit:
    """One finding: its kind, such as `email`, and the characters from `start` up to `end`."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Kind:
    pattern: re.Pattern[str]
    length: Callable[[str], int]
    """How much of a match it is: 0 when the match is none of this kind."""


class RegexPii:
    """Find e-mail addresses, phone numbers, bank accounts, payment cards, IP addresses and US social security numbers.

    Names and postal addresses are not found: that takes a model.
    """

    def find(self, text: str) -> list[PiiHit]:
        """Return what is found in the order of the text; of two findings at one place, the stricter kind."""
        hits: list[PiiHit] = []
        has_digit = _DIGIT.search(text) is not None
        for name, kind in _KINDS.items():
            if not ("@" in text if name == "email" else has_digit):
                continue
            matches = ((match.start(), kind.length(match.group())) for match in kind.pattern.finditer(text))
            hits = _merged(hits, [PiiHit(name, start, start + length) for start, length in matches if length])
        return hits


def _merged(kept: list[PiiHit], found: list[PiiHit]) -> list[PiiHit]:
    """Add the findings that overlap none of those kept; both are in the order of the text."""
    free: list[PiiHit] = []
    at = 0
    for hit in found:
        while at < len(kept) and kept[at].end <= hit.start:
            at += 1
        if at == len(kept) or kept[at].start >= hit.end:
            free.append(hit)
    return sorted([*kept, *free], key=lambda hit: hit.start)


def _account(text: str) -> int:
    """Drop words that follow the account until its check digits are right.

    Source: ISO 13616, check digits by ISO 7064 mod 97-10.
    """
    while True:
        account = text.replace(" ", "")
        if len(account) < _IBAN_LENGTHS[0]:
            return 0
        if len(account) <= _IBAN_LENGTHS[1]:
            rotated = account[4:] + account[:4]
            if int("".join(str(int(character, 36)) for character in rotated)) % 97 == 1:
                return len(text)
        text = text.rpartition(" ")[0]


def _card(text: str) -> int:
    """Source: ISO/IEC 7812-1, the Luhn check digit."""
    digits = [int(character) for character in text if character.isdigit()]
    if text[0] == "1" and len(text) in _UNIX_TIME_LENGTHS:
        return 0
    if not _CARD_LENGTHS[0] <= len(digits) <= _CARD_LENGTHS[1] or len(set(digits)) == 1:
        return 0
    doubled = [digit * 2 if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return 0 if sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10 else len(text)  # noqa: PLR2004


def _address(text: str) -> int:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return 0
    return 0 if address.is_loopback or address.is_unspecified else len(text)


def _phone(text: str) -> int:
    digits = sum(character.isdigit() for character in text)
    return len(text) if _PHONE_DIGITS[0] <= digits <= _PHONE_DIGITS[1] and not _DATE.fullmatch(text) else 0


_IBAN_LENGTHS = (15, 34)
_CARD_LENGTHS = (13, 19)
_UNIX_TIME_LENGTHS = (13, 16)
"""Times since 1970 in milliseconds and microseconds: one in ten has a right check digit. No issuer's cards are such."""
_PHONE_DIGITS = (8, 15)
_DIGIT = re.compile(r"\d", re.ASCII)
_DATE = re.compile(r"\d{1,2}[ ./-]\d{1,2}[ ./-]\d{4}")
_KINDS: Mapping[str, _Kind] = {
    "iban": _Kind(re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII), _account),
    "card": _Kind(re.compile(r"(?<![\d.-])\d{4}(?:[ -]?\d{3,6}){2,4}(?![\d-])", re.ASCII), _card),
    "ssn": _Kind(re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", re.ASCII), len),
    "ip": _Kind(
        re.compile(
            r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)|(?<![:\w])(?:[0-9a-f]{1,4}:{1,2}){2,7}[0-9a-f]{1,4}(?![:\w])",
            re.ASCII | re.IGNORECASE,
        ),
        _address,
    ),
    "email": _Kind(
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[^\W_](?:[\w-]{0,62})\.){1,8}[^\W\d_]{2,24}(?![\w-])"), len
    ),
    # An international number, or one with an area code in brackets or after a zero; plain digits are no phone number.
    "phone": _Kind(
        re.compile(
            r"(?<![\w+.,])(?<!\d[ ./-])(?:\+\d{1,3}[ ./-]?(?:\(0\)[ ./-]?)?|\(\d{2,5}\)[ ./-]?|0(?!00)\d{1,4}[ /-])"
            r"\d{1,5}(?:[ ./-]?\d{2,5}){1,5}(?![\w-])",
            re.ASCII,
        ),
        _phone,
    ),
}
PII_KINDS = tuple(_KINDS)
"""What `RegexPii` finds, the strictest first."""
