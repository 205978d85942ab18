"""``fedretune embed``: encode a manifest's images once."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedretune.cli.console import console

if TYPE_CHECKING:
    from fedretune.data.manifest import Manifest
    from fedretune.embeddings import Embeddings


def command(
    manifest: Annotated[Path, typer.Argument(help="A manifest: .csv or .parquet.")],
    backbone: Annotated[
        str, typer.Option(help="A name, or local-dir:/absolute/folder.")
    ] = "phantom-clip",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    allow_hub: Annotated[
        bool, typer.Option("--allow-hub", help="Allow fetching the backbone from the internet.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts to stdout.")] = False,
) -> None:
    """Encode the images of a manifest that are not encoded yet; a stopped run goes on there."""
    from fedretune.data.manifest import check_images, load_manifest

    loaded = load_manifest(manifest)
    check_images(loaded)
    started = time.perf_counter()
    embeddings = _encode(loaded, backbone, device, allow_hub)
    seconds = time.perf_counter() - started
    counts = {
        "images": len(loaded),
        "encoded": embeddings.encoded,
        "already_stored": len(loaded) - embeddings.encoded,
        "seconds": round(seconds, 3),
        "images_per_second": round(embeddings.encoded / seconds, 1),
        "backbone": embeddings.info.fingerprint,
        "dim": embeddings.info.dim,
    }
    console.print(
        f"{counts['encoded']:,} images encoded, {counts['already_stored']:,} found in the store, "
        f"in {seconds:.1f} s ({counts['images_per_second']} images/s, with loading the backbone)."
    )
    if as_json:
        typer.echo(json.dumps(counts))


def _encode(loaded: "Manifest", backbone: str, device: str, allow_hub: bool) -> "Embeddings":
    """Encode, under a bar."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from fedretune.embeddings import embed_images

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Encoding images", total=len(loaded))
        return embed_images(
            loaded,
            backbone,
            device=device,
            allow_hub=allow_hub,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
