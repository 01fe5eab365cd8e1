"""The waitlist's decisions about text: tiers, the invitation, JSON lines."""

from urllib.parse import parse_qs, urlsplit

import pytest

from scripts.waitlist import MAX_BATCH_BYTES, batches
from services.provisioning.waitlist import invitation, lines
from services.provisioning.waitlist.tiers import BETA, STABLE, tier_of
from services.runtime.errors import Invalid


def test_every_known_make_has_its_tier() -> None:  # H-007, H-008
    assert {tier_of(make) for make in STABLE} == {"stable"}
    assert {tier_of(make) for make in BETA} == {"beta"}


@pytest.mark.parametrize(
    ("hardware", "tier"),
    [
        ("solaredge se5k, Shelly3EM", "stable"),
        ("Shelly 3EM and a Huawei SUN2000", "beta"),
        ("Aquarea Smart Cloud", "beta"),
        ("", "unsupported"),
        ("a pot of tea", "unsupported"),
        ("Michelly", "unsupported"),
        ("Ѕhelly", "unsupported"),
    ],
)
def test_the_hardest_part_decides(hardware: str, tier: str) -> None:  # H-006, H-008
    assert tier_of(hardware) == tier


def test_the_link_opens_an_invitation_to_that_address_alone_with_the_placeholder() -> None:  # H-014
    link = urlsplit(invitation.mailto("a+b?cc=x&y@b.c", "Ann & Bob"))

    assert (link.scheme, link.path) == ("mailto", "a%2Bb%3Fcc%3Dx%26y@b.c")
    words = parse_qs(link.query)
    assert set(words) == {"subject", "body"}
    assert "\nPASTE_TOKEN_HERE\n" in words["body"][0]
    assert "Hello Ann & Bob," in words["body"][0]


def test_the_first_wrong_line_is_named() -> None:  # H-017
    good = b'{"email": "a@b.c", "unknown": 1}\n'
    assert [line.email for line in lines.read(good + b"\n" + good)] == ["a@b.c"] * 2
    for text, says in (
        (b"{", "line 2: the line"),
        (b"\xff", "line 2"),
        (b'{"email": "a@b"}', "line 2: email"),
        (b'{"email": "a@b.c", "state": "dismissed"}', "line 2: the line: .*reason"),
        (b'{"email": "a@b.c", "created_at": "2026-01-01T00:00:00"}', "line 2: created_at"),
        (b'{"email": "a@b.c", "created_at": "0001-01-01T00:00:00+14:00"}', "line 2: created_at"),
        (b'{"email": "a@b.c", "name": "\\u0000"}', "line 2: name"),
    ):
        with pytest.raises(Invalid, match=says):
            lines.read(good + text)


def test_a_long_file_goes_in_parts_that_one_request_can_carry() -> None:  # H-017
    long = ['{"note": "' + "x" * 200 + f'", "number": {number}}}' for number in range(1000)]

    parts = list(batches(long))

    assert len(parts) > 1
    assert max(len("".join(part)) for part in parts) <= MAX_BATCH_BYTES + len(long[0])
    assert [line.strip() for part in parts for line in part] == long
    assert list(batches([])) == []
