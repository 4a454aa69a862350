"""Who was scanned: the subject in the name of a scan, and names that look like sessions of one subject."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from synthtumour.dataset.naming import SEPARATORS
from synthtumour.errors import InputError

# Names whose sessions or time points can be told apart from the subject.
_CONVENTIONS = re.compile(
    r"""(?ix) ^(?:ses-[a-z0-9]+[_-])? (sub-[a-z0-9]+)      # BIDS: sub-01_ses-2, ses-2_sub-01
    | (?<![a-z0-9]) (?:
        \d{3}_S_\d{4,5} (?!\d)                             # ADNI: 002_S_0413_2006-05-02
        | OAS\d{5} (?!\d) | OAS\d_\d{4} (?!\d)             # OASIS: OAS30001_MR_d0129, OAS2_0001_MR1
        | BraTS-(?:[a-z]+-)+\d{4,5} (?!\d)                 # BraTS since 2023: BraTS-GLI-00000-001
        | NACC\d{6} (?!\d)                                # NACC123456_mri2
        | ReMIND-\d{3} (?!\d)                             # ReMIND-001_Preop
        | \d{7} (?=_\d{5}_\d_\d(?!\d))                   # UK Biobank: 1234567_20252_3_0
    )"""
)
_STAGE1_ENDING = re.compile(r"(_v\d{2,}|_free)$")
_STAGE1_ENDINGS = re.compile(r"(_v\d{2,}|_free)?(val)?$")

# What a name may end in when it is one of several of a subject.
_DATE = r"(?:19|20)\d\d(?P<s>[-_.]?)(?:0[1-9]|1[0-2])(?P=s)(?:0[1-9]|[12]\d|3[01])(?:T?\d{4,6})?"
_VISIT = (
    r"\d*(?:baseline|base|bl|follow[-_]?up|fu|pre|post|(?:pre|post|intra)[-_]?op|visit|month|months|week|weeks|"
    r"day|days|year|years|yr|mo|wk|session|sess|ses|time[-_]?point|time|tp|scan|rescan|retest|initial|"
    r"first|second|third|final|wave|screening)(?:[-_]?\d+[a-z]?)?"
)
_SHORT_VISIT = r"(?:v|t|m|w|d|y|s|e|mri?)\d{1,4}|\d{1,2}[mwdy]|test"
_NUMBER = r"\d{1,2}|0\d\d|[a-e]"
_AFTER = r"(?:[_. -](?:nifti|nii|flair|mri?|brain))*$"  # which says nothing of who or when
_SESSION_LAST = re.compile(
    rf"""(?ix) ^(?P<stem>.*?)
    (?:
        (?:[_. -]+ (?:{_DATE} | (?P<visit>{_VISIT} | study[-_]?\d{{1,2}}) | {_SHORT_VISIT}))+
        (?:[_. -]+\d{{1,2}})?
        | [_. -]+ (?P<number>{_NUMBER})
        | (?<=\d) (?P<letter>[a-e])
        | (?<=\d) (?:ses|session|visit|scan|tp|fu|v)\d{{1,2}}
    ) {_AFTER}"""
)
_SESSION_FIRST = re.compile(rf"(?i)^(?:{_DATE}|{_VISIT}|v\d{{1,2}})[_. -]+(?P<stem>.*?){_AFTER}")
_SESSION_ALONE = re.compile(r"(?i)^(?P<stem>ses|session|visit)[-_]?\d+[a-z]?$")  # in a subject's own folder
# A number in these is not that of a subject; training01_02 is the second scan of ISBI's first.
_NO_SUBJECT = re.compile(
    r"(?i)(?:site|cent(?:er|re)|cohort|study|hospital|scanner|group|batch|fold|set|dataset|phase|part|series|brats|"
    r"oasis|adni|isles|wmh|isbi|msseg|miccai|(?:train(?:ing)?|test)(?!\d\d$)|val(?:idation)?)\d*|\d(?:\.\d)?T"
)
_MOST_SESSIONS = 10  # by number: with more it is rather a study and its subjects


def subject_of(name: str, pattern: str | None = None, known: str = "") -> str:
    """Who was scanned: of the scan's `name` the first group of `pattern`, or all that it matches.

    Where it does not match, `known` is looked at, by which the layout knows the subject. Without a pattern
    that is the subject, or else what the conventions of public data say (BIDS, ADNI, ...), or else the name
    without `_v03` or `_free`, by which Stage 1 tells apart what it makes of one scan.
    Raises InputError if the pattern matches neither.
    """
    if pattern is None:
        match = _CONVENTIONS.search(name)
        return known or (match[1] or match[0] if match else _STAGE1_ENDING.sub("", name) or name)
    found = re.search(pattern, name) or (re.search(pattern, known) if known else None)
    if found is None:
        raise InputError(f"--subject-pattern {pattern!r}: does not match {name!r}")
    return (found[1] if found.re.groups and found[1] else found[0]) or name


def subject_of_case(name: str, pattern: str | None = None, known: str = "") -> str:
    """`subject_of`, where `name` may be that of a Stage 1 case: its `val` goes too without a pattern."""
    if pattern is not None:
        return subject_of(name, pattern, known)
    whole = known or name
    return subject_of(_STAGE1_ENDINGS.sub("", whole) or whole)


def of_one_spelling(subjects: Iterable[str]) -> dict[str, str]:
    """The subject that each of `subjects` is: names that differ in case alone are the first of them."""
    first: dict[str, str] = {}
    return {name: first.setdefault(_folded(name), name) for name in sorted(set(subjects))}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def session_of(name: str, subject: str) -> str:
    """What is left of a scan's `name` without its subject; '' if that is all."""
    before, found, after = name.partition(subject)
    if not found:
        return name
    return "_".join(part.strip(SEPARATORS) for part in (before, after) if part.strip(SEPARATORS))


def check_pattern(pattern: str | None) -> None:
    """Raise InputError for a --subject-pattern that is no regular expression."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise InputError(f"--subject-pattern {pattern!r}: {error}") from error


def caution_of_sessions(subjects: Mapping[str, str], pattern: str | None = None) -> str:
    """One line about scans that look like sessions of one subject and count as subjects of their own.

    `subjects` by the name of the scan. The line names the option that joins them; '' if there are none, or
    if the user has said by a `pattern` what a subject is.
    """
    if pattern is not None:
        return ""
    alike = _alike([name for name, subject in subjects.items() if subject == name])
    if not alike:
        return ""
    first, second, *_ = next(iter(alike.values()))
    count = sum(map(len, alike.values()))
    rest = f" ({count} names of this kind)" if count > 2 else ""
    option = _pattern_for(alike, subjects) or "REGEX"
    return (
        f"{first} and {second} look like sessions of one subject and count as two subjects{rest}; a split "
        f"may part them: --subject-pattern {shlex.quote(option)} joins them"
    )


def _alike(names: Iterable[str]) -> dict[str, list[str]]:
    """Names that differ in what looks like a session, two or more of each, by what they share."""
    groups: dict[str, list[str]] = defaultdict(list)
    numbered = set()
    listed = sorted(names)
    for name in listed:
        if found := _without_session(name):
            stem, by_number = found
            groups[_folded(stem)].append(name)
            if by_number:
                numbered.add(_folded(stem))
    for name in listed:  # the first session of a subject may go without an ending
        stem = _folded(re.sub(rf"(?i){_AFTER}", "", name))
        if stem in groups and name not in groups[stem]:
            groups[stem].insert(0, name)
    return {
        stem: found
        for stem, found in groups.items()
        if 1 < len(found) and (stem not in numbered or len(found) <= _MOST_SESSIONS)
    }


def _without_session(name: str) -> tuple[str, bool] | None:
    """What is left of a name without its session, and whether that is a mere number or letter."""
    if alone := _SESSION_ALONE.match(name):
        return alone["stem"], False
    last, first = _SESSION_LAST.match(name), _SESSION_FIRST.match(name)
    by_number = last is not None and bool(last["number"] or last["letter"])
    if first and re.search(r"\d", first["stem"]) and (by_number or not last):
        return first["stem"], False
    if last is None:
        return None
    word = re.split(f"[{SEPARATORS}]", last["stem"])[-1]
    if _NO_SUBJECT.fullmatch(word) or not (re.search(r"\d", word) or (last["visit"] and last["stem"])):
        return None
    return last["stem"], by_number


def _pattern_for(alike: Mapping[str, Collection[str]], subjects: Mapping[str, str]) -> str:
    """A --subject-pattern that joins the names of each group, and no others; '' if none was found."""
    wanted = {**subjects, **{name: stem for stem, names in alike.items() for name in names}}
    stems = {_stem_in(name, stem) for stem, names in alike.items() for name in names}
    by_digits = sorted({re.sub(r"\d+", r"\\d+", re.escape(stem)).replace(r"\-", "-") for stem in stems})
    by_letters = sorted({re.sub(r"(?<!\\)[A-Za-z]+", "[A-Za-z]+", shape) for shape in by_digits})
    for shapes in (by_digits, by_letters, sorted(re.escape(stem).replace(r"\-", "-") for stem in stems)):
        either = "|".join(shapes)
        for pattern in (either, f"(?:{either})$", f"{either}|.+", f"^.+[{SEPARATORS}]({either})$|.+"):
            if len(pattern) <= 120 and _joins(pattern, wanted):
                return pattern
    return ""


def _stem_in(name: str, stem: str) -> str:
    """`stem`, which is in small letters, as it stands in `name`."""
    match = re.search(re.escape(stem), name, re.IGNORECASE)
    return match[0] if match else name


def _joins(pattern: str, wanted: Mapping[str, str]) -> bool:
    """Whether `pattern` parts the names into the same subjects as `wanted` does."""
    try:
        pairs = {(_folded(subject_of(name, pattern)), _folded(subject)) for name, subject in wanted.items()}
    except InputError:
        return False
    return len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
