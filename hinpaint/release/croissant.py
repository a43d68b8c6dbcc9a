"""Croissant metadata (version 1.0, https://docs.mlcommons.org/croissant) over a release's Parquet tables."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from hinpaint.config import Config
from hinpaint.files import sha256_file
from hinpaint.release.citation import creators
from hinpaint.release.completion import METHOD_DOI
from hinpaint.release.licences import licence_url
from hinpaint.tables import ALL_TABLES, Table

NAME = "croissant.json"
# The context that version 1.0 of the specification prescribes.
_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/", "recordSet": "cr:recordSet", "references": "cr:references",
    "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
_TYPES = {"string": "sc:Text", "int32": "sc:Integer", "int64": "sc:Integer", "double": "sc:Float", "bool": "sc:Boolean"}


def write_croissant(config: Config, folder: Path, licences: list[str]) -> None:
    """Write ``croissant.json``: one record set a table, one field a column.

    Args:
        config: the run's configuration.
        folder: the release, with its tables written.
        licences: licences of the records that are released.
    """
    release = config.release
    tables = [table for table in ALL_TABLES.values() if (folder / _path(table)).is_file()]
    content: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": release.title,
        "description": f"Crystal structures of {', '.join(s.database for s in config.sources)} whose {config.element} "
        f"was completed by score-based diffusion (doi {METHOD_DOI}), with every trial, decision and reason.",
        "version": release.version,
        "license": [licence_url(each) for each in licences],
        "creator": [{"@type": "sc:Organization", "name": name} for name in creators(config)],
        "citeAs": f"{'; '.join(creators(config))}: {release.title}, version {release.version}",
        "distribution": [_file(folder, table) for table in tables],
        "recordSet": [_record_set(table) for table in tables],
    }
    content |= {"url": release.url} if release.url else {}
    content |= {"datePublished": release.date} if release.date else {}
    (folder / NAME).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _path(table: Table) -> str:
    return f"tables/{table.name}.parquet"


def _file(folder: Path, table: Table) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": _path(table),
        "name": _path(table),
        "contentUrl": _path(table),
        "encodingFormat": "application/x-parquet",
        "contentSize": f"{(folder / _path(table)).stat().st_size} B",
        "sha256": sha256_file(folder / _path(table)),
    }


def _record_set(table: Table) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.description,
        "key": [{"@id": f"{table.name}/{name}"} for name in table.key],
        "field": [_field(table, field) for field in table.schema],
    }


def _field(table: Table, field: pa.Field) -> dict[str, Any]:
    is_list = pa.types.is_list(field.type)
    found = {
        "@type": "cr:Field",
        "@id": f"{table.name}/{field.name}",
        "name": f"{table.name}/{field.name}",
        "description": (field.metadata or {}).get(b"description", b"").decode(),
        "dataType": _TYPES[str(field.type.value_type if is_list else field.type)],
        "source": {"fileObject": {"@id": _path(table)}, "extract": {"column": field.name}},
    }
    return found | ({"repeated": True} if is_list else {})
