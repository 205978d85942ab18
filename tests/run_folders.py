"""What every finished run folder has."""

FILES = {
    "config.toml",
    "metrics.jsonl",
    "auroc.csv",
    "measures.csv",
    "findings.csv",
    "traffic.csv",
    "sites.csv",
    "checkpoints",
    "adaptors.safetensors",
    "summary.json",
}


def adaptors(folder):
    return (folder / "adaptors.safetensors").read_bytes()
