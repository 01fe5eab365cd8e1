"""The live view: a snapshot in, a picture for the terminal out."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from scripts.demo.facts import AssetView, BoxView, DispatchView, Snapshot

SEVERITY = {1: "LOW", 2: "MEDIUM", 3: "HIGH", 4: "CRITICAL"}
STATE_STYLE = {"verified": "bold green", "not_following": "bold red", "rejected": "red", "expired": "red"}


def render(snapshot: Snapshot, *, title: str, addresses: Sequence[tuple[str, str]]) -> RenderableType:
    """The whole picture."""
    head = Text.assemble(
        (f"{snapshot.samples_per_s:7.1f}", "bold cyan"),
        " samples/s stored    ",
        (f"{snapshot.samples_stored:,}", "bold"),
        " in the database    ",
        (str(len(snapshot.agents)), "bold"),
        f" agents: {', '.join(snapshot.agents)}    ",
        (str(snapshot.pages), "bold"),
        " pages sent",
    )
    parts: list[RenderableType] = [
        head,
        _boxes(snapshot.boxes),
        _assets(snapshot.assets),
        _dispatch(snapshot.dispatch),
        _alerts(snapshot),
    ]
    if snapshot.problems:
        parts.append(Text("\n".join(snapshot.problems), style="yellow"))
    parts.append(Text("   ".join(f"{name} {url}" for name, url in addresses), style="dim"))
    spaced = [line for part in parts for line in (part, Text(""))][:-1]
    return Panel(
        Group(*spaced), title=f"Overwatt  {title}", subtitle="Ctrl-C stops everything", padding=(1, 2)
    )


def power(watts: float | None) -> str:
    """Watts as a person reads them, with the sign; `-` where nothing is known."""
    if watts is None:
        return "-"
    for unit, size in (("MW", 1e6), ("kW", 1e3)):
        if abs(watts) >= size:
            return f"{watts / size:+.2f} {unit}"
    return f"{watts:+.0f} W"


def _boxes(boxes: Sequence[BoxView]) -> Table:
    table = Table(box=None, padding=(0, 2), title="Boxes", title_justify="left", title_style="bold")
    for column in ("box", "mode", "since", "in by certificate since", "until"):
        table.add_column(column)
    for box in boxes:
        table.add_row(
            box.box_id,
            Text(box.mode, style="green" if box.mode == "active" else "yellow"),
            f"{box.mode_since:%H:%M:%S}",
            "not enrolled" if box.enrolled_at is None else f"{box.enrolled_at:%d %b %H:%M:%S}",
            "" if box.certificate_until is None else f"{box.certificate_until:%d %b %Y}",
        )
    return table


def _assets(assets: Sequence[AssetView]) -> Table:
    table = Table(box=None, padding=(0, 2), title="Assets", title_justify="left", title_style="bold")
    for column, justify in (
        ("site", "left"),
        ("asset", "left"),
        ("type", "left"),
        ("power", "right"),
        ("SoC", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for asset in assets:
        soc = "" if asset.soc_pct is None else f"{asset.soc_pct:.1f} %"
        bar = "" if asset.soc_pct is None else "█" * round(asset.soc_pct / 5)
        table.add_row(
            asset.site_id,
            asset.asset_id,
            asset.type,
            power(asset.active_power_w),
            soc,
            Text(bar, style="green"),
        )
    return table


def _dispatch(dispatch: DispatchView | None) -> RenderableType:
    if dispatch is None:
        return Text("Last dispatch: none yet", style="bold")
    line = Text.assemble(
        ("Last dispatch: ", "bold"),
        f"{dispatch.target} {dispatch.mw:+g} MW  ",
        (dispatch.state, STATE_STYLE.get(dispatch.state, "yellow")),
        f"  {dispatch.reason}",
    )
    table = Table(box=None, padding=(0, 2))
    for column in ("asset", "split", "measured since"):
        table.add_column(column, justify="left" if column == "asset" else "right")
    for share in dispatch.shares:
        measured = None if share.measured_mw is None else share.measured_mw * 1e6
        table.add_row(share.asset_id, power(share.power_mw * 1e6), power(measured))
    return Group(line, table)


def _alerts(snapshot: Snapshot) -> RenderableType:
    if not snapshot.alerts:
        return Text("Open alerts: none", style="bold")
    table = Table(box=None, padding=(0, 2), title="Open alerts", title_justify="left", title_style="bold")
    for column in ("severity", "device", "since", "what"):
        table.add_column(column)
    for alert in snapshot.alerts:
        style = "red" if alert.severity >= 3 else "yellow"
        table.add_row(
            Text(SEVERITY.get(alert.severity, str(alert.severity)), style=style),
            alert.device_id, alert.opened_at[11:19], alert.summary,
        )  # fmt: skip
    return table
