"""Croissant metadata (MLCommons, 1.0) of a folder of JSON-lines files: their hashes, fields and record sets.

write(folder, about, {"item_scores": ("item_scores/*.jsonl", paths)})    ->  folder/croissant.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ethical_personas.paths import sha256

# The official context of Croissant 1.0, which readers compare a file's own with.
CROISSANT_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "sc": "https://schema.org/",
} | {name: f"cr:{name}" for name in CROISSANT_TERMS}
ENCODING = "application/jsonlines"
TYPES = {bool: "sc:Boolean", int: "sc:Integer", float: "sc:Float", str: "sc:Text"}


def fields(paths: Iterable[Path]) -> dict[str, str]:
    """Field names of JSON-lines files with their schema.org types, in order of appearance; nested values left out."""
    found: dict[str, str] = {}
    for path in paths:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                for name, value in json.loads(line).items():
                    if type(value) in TYPES and found.get(name) in (None, "sc:Integer"):
                        found[name] = TYPES[type(value)]
    return found


def write(folder: Path, about: dict, sets: dict[str, tuple[str, list[Path]]]) -> dict[str, dict[str, str]]:
    """Write `folder`/croissant.json.

    Args:
        about: properties of the data set: name, description, license, citeAs, creator, datePublished.
        sets: by record set the pattern of its files, relative to the folder, and the files.

    Returns:
        The fields of each record set with their types.
    """
    distribution, records, known = [], [], {}
    for title, (pattern, paths) in sets.items():
        distribution += [_file(path, path.relative_to(folder).as_posix()) for path in sorted(paths)]
        distribution.append(_node("cr:FileSet", f"{title}-files", encodingFormat=ENCODING, includes=pattern))
        known[title] = fields(sorted(paths))
        columns = [_field(title, name, kind, {"column": name}) for name, kind in known[title].items()]
        columns.append(_field(title, "file", "sc:Text", {"fileProperty": "filename"}))  # of training rows, the arm
        records.append(_node("cr:RecordSet", title, field=columns))
    document = {"@context": CONTEXT, "@type": "sc:Dataset", **about}
    document |= {"conformsTo": "http://mlcommons.org/croissant/1.0", "version": "1.0.0"}
    document |= {"distribution": distribution, "recordSet": records}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (folder / "croissant.json").write_text(text, encoding="utf-8")
    return known


def _node(kind: str, name: str, **properties) -> dict:
    return {"@type": kind, "@id": name, "name": name, **properties}


def _file(path: Path, name: str) -> dict:
    return _node("cr:FileObject", name, contentUrl=name, encodingFormat=ENCODING, sha256=sha256(path))


def _field(title: str, name: str, kind: str, extract: dict) -> dict:
    source = {"fileSet": {"@id": f"{title}-files"}, "extract": extract}
    return _node("cr:Field", f"{title}/{name}", dataType=kind, source=source) | {"name": name}
