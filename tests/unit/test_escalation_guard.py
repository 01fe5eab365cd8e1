"""Where a webhook may lead (P-063, U-P09): the whole list of known bypasses, and the connection itself."""

import ipaddress

import pytest

from services.escalation import cli
from services.escalation.guard import Blocked, Policy, check_address, check_policy, check_url
from services.escalation.notifiers.connect import Resolve
from services.escalation.settings import Settings
from services.runtime.errors import Invalid

PRODUCTION = Policy()
SINKS = Policy((ipaddress.ip_network("127.0.0.0/8"),), in_production=False)
PUBLIC = "93.184.216.34"

REFUSED = [
    "http://127.0.0.1/",
    "https://127.0.0.1/",
    "http://ok.example.org/",
    "https://localhost/",
    "https://localhost./",
    "https://LOCALHOST/",
    "https://a.localhost/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.0x1/",
    "https://127.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::]/",
    "https://0.0.0.0/",
    "https://0/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2001::1]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[ff02::1]/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://169.254.43518/",
    "https://192.0.0.192/",
    "https://168.63.129.16/",
    "https://100.100.100.200/",
    "https://metadata.google.internal/",
    "https://metadata/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://198.18.0.1/",
    "https://255.255.255.255/",
    "https://192.88.99.1/",
    "https://100.64.0.1/",
    "https://240.0.0.1/",
    "https://203.0.113.7/",
    "https://[fc00::1]/",
    "https://[fd12:3456::1]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://db:5432/",
    "https://redis/",
    "https://kubernetes.default.svc/",
    "https://host.docker.internal/",
    "https://nas.local/",
    "https://a.home.arpa/",
    "https://x.svc.cluster.local/",
    "https://ok.example.org@127.0.0.1/",
    "https://127.0.0.1@ok.example.org/",
    "https://ok.example.org:443@169.254.169.254/",
    "https://@ok.example.org/",
    "https://user:secret@ok.example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/",
    "ftp://ok.example.org/",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "//127.0.0.1/",
    "https:///127.0.0.1/",
    "https:127.0.0.1",
    "/hook",
    "hook",
    "https://ok.example.org:22/",
    "https://ok.example.org:0/",
    "https://ok.example.org:6379/",
    "https://ok.example.org:99999/",
    "https://ok.example.org:x/",
    "https://ok.example.org\\@127.0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://ok.example.org%2f@127.0.0.1/",
    "https://ok_example.org/",
    "https://-ok.example.org/",
    "https://exämple.org/",
    "https://%31%32%37.0.0.1/",
    "https://[::1/",
    "https://1.2.3/",
]

ACCEPTED = [
    "https://ok.example.org/hook?x=1",
    "https://ok.example.org:8443/",
    "https://93.184.216.34/",
    "https://xn--exmple-cua.org/",
    "https://OK.Example.org/",
    "https://[2606:4700::1111]/",
    "https://ok.example.org",
]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_could_lead_inside_is_refused_at_creation(url: str) -> None:
    with pytest.raises(Blocked, match=r"^url: "):
        check_url(url, PRODUCTION)


@pytest.mark.parametrize(
    "url", ["https://ok.example.org/a\r\nHost: x", "https://ok.example.org/\t", " https://ok.example.org/"]
)
def test_blanks_and_line_ends_cannot_smuggle_headers(url: str) -> None:
    with pytest.raises(Blocked):
        check_url(url, PRODUCTION)


@pytest.mark.parametrize("url", ACCEPTED)
def test_a_public_https_url_is_accepted(url: str) -> None:
    check_url(url, PRODUCTION)


@pytest.mark.parametrize(
    "url", [url for url in REFUSED if not url.startswith(("http://127.", "https://127.0.0.1/"))]
)
def test_an_operators_loopback_network_opens_nothing_else(url: str) -> None:
    with pytest.raises(Blocked):
        check_url(url, SINKS)


def test_a_test_sink_on_loopback_needs_the_operators_word() -> None:
    check_url("http://127.0.0.1:9000/hook", SINKS)

    with pytest.raises(Blocked):
        check_url("http://127.0.0.1:9000/hook", Policy(in_production=False))


def test_production_refuses_loopback_as_an_allowed_network() -> None:
    for text in ("127.0.0.0/8", "127.0.0.1/32", "::1/128", "126.0.0.0/7"):
        with pytest.raises(Invalid, match="loopback"):
            check_policy(Policy((ipaddress.ip_network(text),)))
    with pytest.raises(SystemExit, match="WEBHOOK_ALLOWED_NETWORKS"):
        Settings(
            _env_file=None,  # type: ignore[call-arg]
            environment="production",
            webhook_allowed_networks="127.0.0.0/8",  # type: ignore[arg-type]
        ).policy()


@pytest.mark.parametrize(
    "text", ["169.254.169.254/32", "169.254.0.0/16", "100.64.0.0/10", "168.63.129.16/32", "0.0.0.0/0"]
)
def test_no_operator_can_allow_a_metadata_service(text: str) -> None:
    network = ipaddress.ip_network(text)

    with pytest.raises(Invalid, match="metadata"):
        check_policy(Policy((network,), in_production=False))
    for address in ("169.254.169.254", "168.63.129.16"):
        with pytest.raises(Blocked):
            check_address(ipaddress.ip_address(address), Policy((network,), in_production=False))


def test_a_lan_receiver_can_be_allowed_in_production_with_https() -> None:
    lan = Policy((ipaddress.ip_network("10.1.2.0/24"),))

    check_policy(lan)
    check_url("https://10.1.2.3:9443/hook", lan)
    with pytest.raises(Blocked, match="https"):
        check_url("http://10.1.2.3/hook", lan)


def names(*answers: list[str]) -> Resolve:
    """A resolver that gives these answers one after the other, then the last one again."""
    left = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


@pytest.mark.parametrize(
    "addresses", [["10.0.0.5"], [PUBLIC, "10.0.0.5"], ["2606:4700::1111", "::1"], [PUBLIC, "fe80::1%eth0"]]
)
async def test_a_name_is_refused_at_creation_if_any_of_its_addresses_is_inside(addresses: list[str]) -> None:
    with pytest.raises(Blocked):
        await cli.check_target("https://ok.example.org/", PRODUCTION, names(addresses))


async def test_a_name_with_public_addresses_alone_is_accepted() -> None:
    await cli.check_target("https://ok.example.org/", PRODUCTION, names([PUBLIC, "2606:4700::1111"]))
