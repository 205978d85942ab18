"""``fedretune backbones``: which backbones are here, and whether one is sound."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fedretune.cli.console import console, say
from fedretune.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Frozen vision-language models.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


@app.command("list")
def list_backbones(as_json: AsJson = False) -> None:
    """List the backbones that come with FedRETune, and the forms of other names."""
    from rich.markup import escape

    from fedretune.backbones import LITE0_MINILM, SHIPPED, describe

    rows = []
    for name in (*SHIPPED, LITE0_MINILM):
        try:
            info = describe(name)
        except UserError as error:
            console.print(f"[bold]{name}[/]  {escape(str(error))}", soft_wrap=True)
            continue
        rows.append({"name": name, "dim": info.dim, "fingerprint": info.fingerprint})
        console.print(f"[bold]{name}[/]  {info.dim} dimensions, SHA-256 {info.fingerprint}")
    console.print("[bold]local-dir:/a/folder[/]  an open_clip folder on this machine")
    console.print("[bold]biovil:/a/folder[/]  BioViL's image tower and CXR-BERT")
    console.print(
        "[bold]vit-mrm:/a/MRM.pth[/], [bold]vit-cxr-mae:/a/CXR_MAE.pth[/]  no text: probes"
    )
    console.print("[bold]MODEL//a/file[/]  an open_clip model, its weights from a file")
    console.print("[bold]MODEL/TAG[/], [bold]hf-hub:ORG/REPO[/]  fetched, with --allow-hub")
    if as_json:
        typer.echo(json.dumps(rows))


@app.command("build")
def build_backbone(
    name: Annotated[str, typer.Argument(help="lite0-minilm.")] = "lite0-minilm",
    out: Annotated[
        Path | None, typer.Option(help="A folder for it; its name finds it where it is left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Join two small real towers, from the packages of fedretune[towers], in a minute or two."""
    from rich.progress import Progress, TaskID

    from fedretune.backbones import LITE0_MINILM
    from fedretune.backbones.towers import default_folder, weight_files
    from fedretune.errors import one_of

    one_of("backbone that can be built", name, [LITE0_MINILM])
    weight_files()  # an install that lacks them says so before torch is imported
    from fedretune.backbones.towers.build import build

    with Progress(console=console) as bar:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        folder = build(out or default_folder(), report)
    tell_folder(folder, as_json)


def tell_folder(folder: Path, as_json: bool) -> None:
    """Tell where a backbone is that was made here, and its fingerprint."""
    from rich.markup import escape

    from fedretune.backbones import describe

    folder = folder.absolute()
    info = describe(str(folder))
    say(f"[bold green]Made[/] {escape(str(folder))}, SHA-256 {info.fingerprint}")
    if as_json:
        made = {"folder": str(folder), "dim": info.dim, "fingerprint": info.fingerprint}
        typer.echo(json.dumps(made))


@app.command("moments")
def backbone_moments(
    manifest: Annotated[Path, typer.Option(help="A table of public images alone.")],
    backbone: Annotated[str, typer.Option(help="See 'backbones list'.")] = "phantom-clip",
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("image_moments.npy"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    allow_hub: Annotated[
        bool, typer.Option("--allow-hub", help="Allow fetching from the internet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the second moment of public images' vectors, for privacy.moments.

    Everybody may know it: never of images that are to be hidden.
    """
    import torch
    from rich.markup import escape

    from fedretune.backbones.moments import write_moments
    from fedretune.data.manifest import check_images, load_manifest
    from fedretune.embeddings import embed_images

    if out.exists():
        raise UserError(f"There is a file {out} already: give another with --out.")
    images = load_manifest(manifest)
    check_images(images)
    found = embed_images(images, backbone, device=device, allow_hub=allow_hub)
    vectors = found.take(range(len(found.rows)))
    try:
        write_moments(out, torch.from_numpy(vectors))
    except OSError as error:
        raise UserError(f"Cannot write {out} ({error.strerror}).") from error
    say(f"Second moment of {len(vectors)} images by {escape(backbone)}: {escape(str(out))}")
    if as_json:
        typer.echo(json.dumps({"file": str(out.absolute()), "images": len(vectors)}))


@app.command("verify")
def verify_backbone(
    name: Annotated[str, typer.Argument(help="A backbone's name; see 'backbones list'.")],
    sha256: Annotated[str | None, typer.Option(help="The fingerprint that it must have.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    allow_hub: Annotated[
        bool, typer.Option("--allow-hub", help="Allow fetching from the internet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Load a backbone and check its files, weights, tokenizer and vectors."""
    from rich.markup import escape

    from fedretune.backbones.checks import verify

    checks = verify(name, sha256=sha256, device=device, allow_hub=allow_hub)
    for check in checks:
        mark = "[green]ok[/]    " if check.passed else "[red]failed[/]"
        console.print(f"{mark} {check.name}: {escape(check.detail)}", soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    if not all(check.passed for check in checks):
        raise typer.Exit(2)
