"""Croissant metadata (MLCommons, 1.0) of a folder of JSON-lines files: their fields and hashes.

croissant.write(folder, "responses", "Answers of …", {"responses": [paths]})
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ethical_personas.paths import sha256

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "md5": "cr:md5",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "sc": "https://schema.org/",
    "source": "cr:source",
    "transform": "cr:transform",
}
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


def write(folder: Path, name: str, description: str, sets: dict[str, list[Path]], licence: str, cite: str) -> Path:
    """Write `folder`/croissant.json; `sets`: the files of each record set, inside the folder. Returns its path."""
    distribution, records = [], []
    for title, paths in sets.items():
        for path in sorted(paths):
            distribution.append(
                {
                    "@type": "cr:FileObject",
                    "@id": path.relative_to(folder).as_posix(),
                    "name": path.relative_to(folder).as_posix(),
                    "contentUrl": path.relative_to(folder).as_posix(),
                    "encodingFormat": "application/jsonlines",
                    "sha256": sha256(path),
                }
            )
            one = title if len(paths) == 1 else f"{title}/{path.relative_to(folder).as_posix()}"
            records.append(
                {
                    "@type": "cr:RecordSet",
                    "@id": one,
                    "name": one,
                    "field": [
                        {
                            "@type": "cr:Field",
                            "@id": f"{one}/{field}",
                            "name": field,
                            "dataType": kind,
                            "source": {
                                "fileObject": {"@id": path.relative_to(folder).as_posix()},
                                "extract": {"column": field},
                            },
                        }
                        for field, kind in fields([path]).items()
                    ],
                }
            )
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": licence,
        "citeAs": cite,
        "version": "1.0.0",
        "distribution": distribution,
        "recordSet": records,
    }
    place = folder / "croissant.json"
    place.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return place
