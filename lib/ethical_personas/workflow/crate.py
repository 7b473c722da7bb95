"""RO-Crate 1.1 metadata of a published folder, as a Process Run Crate: which step made which file from which.

The steps are those of the provenance records; files that are not published, such as the prompts of data/, are left out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from ethical_personas.workflow import cards

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
ENCODINGS = {
    **{".csv": "text/csv", ".json": "application/json", ".jsonl": "application/jsonlines", ".md": "text/markdown"},
    **{".png": "image/png", ".svg": "image/svg+xml", ".safetensors": "application/octet-stream"},
}


def write(folder: Path, records: list[dict], placed: dict[str, str], run_dir: str, published: str) -> None:
    """Write `folder`/ro-crate-metadata.json over every file in the folder.

    Args:
        records: provenance records.
        placed: paths in the run -> paths in the folder.
        run_dir: the run's folder as the records' inputs name it.
        published: the date of the latest record.
    """
    from rocrate.model.contextentity import ContextEntity  # late: of an extra that only this needs
    from rocrate.model.softwareapplication import SoftwareApplication
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    crate.name, crate.description, crate.datePublished = cards.TITLE, cards.CITE, published
    licence = {"@type": "CreativeWork", "name": "Creative Commons Attribution 4.0 International"}
    crate.license = crate.add(ContextEntity(crate, cards.DATA_LICENCE, properties=licence))
    profile = {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    crate.root_dataset["conformsTo"] = crate.add(ContextEntity(crate, PROFILE, properties=profile))
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        about = {"name": name, "contentSize": str(path.stat().st_size), "encodingFormat": ENCODINGS.get(path.suffix)}
        about = {key: value for key, value in about.items() if value}
        files[name] = crate.add_file(path, dest_path=name, properties=about)
    software = {}
    for record in records:
        stage = record["stage"]
        if stage not in software:
            about = {"name": stage, "softwareVersion": record["commit"] or "outside git"}
            software[stage] = crate.add(SoftwareApplication(crate, f"#{stage}", properties=about))
        given = (placed.get(name.removeprefix(f"{run_dir}/")) for name in record["inputs"])
        made = (placed.get(name) for name in record["outputs"])
        ended = datetime.fromisoformat(record["finished"])
        times = {"startTime": ended - timedelta(seconds=round(record["wall_seconds"])), "endTime": ended}
        crate.add_action(
            software[stage],
            f"#{stage}-{record['name']}",
            object=_single([files[name] for name in given if name in files]),
            result=_single([files[name] for name in made if name in files]),
            properties={"name": f"{stage} {record['name']}"} | {k: t.isoformat() for k, t in times.items()},
        )
    crate.root_dataset["mentions"] = crate.get_by_type("CreateAction")
    crate.metadata.write(folder)


def _single(entities: list):
    """One entity as itself: RO-Crate recommends it to a list of one."""
    return entities[0] if len(entities) == 1 else entities
