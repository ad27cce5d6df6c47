"""Small tables of questions about small pictures, written in every format and read by the stage."""

import json

import pandas as pd
from PIL import Image

from pidflow.stages import prepare_items
from pidflow.stages._questions import read_items

ROWS = [
    {
        "image": f"{index}.png",
        "question": "red or blue?",
        "answer": "red",
        "options": ["red", "blue"],
        "boxes": [[1, 2, 3, 4]],
    }
    for index in range(6)
]


def prepare(tmp_path, dataset, *, select=None, count=30, folds=3, seed=0):
    settings = {"dataset": dataset, "items": count} | ({"select": select} if select else {})
    output = tmp_path / "items.parquet"
    dropped = str(tmp_path / "items.dropped.csv")
    prepare_items.run(output=str(output), dropped=dropped, task="a-task", settings=settings, folds=folds, seed=seed)
    return read_items(output)


def written(folder, name, rows):
    """A table file, lists as JSON where cells are text."""
    path = folder / name
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text(json.dumps(rows, indent=4))
        case ".csv" | ".tsv":
            flat = [{key: json.dumps(v) if isinstance(v, list) else v for key, v in row.items()} for row in rows]
            pd.DataFrame(flat).to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")
        case ".parquet":
            pd.DataFrame(rows).to_parquet(path)
    return path


def six_pictures(folder):
    """A folder of six pictures inside the folder, 0.png … 5.png, no two alike."""
    images = folder / "images"
    if not images.exists():
        images.mkdir()
        for index in range(6):
            Image.new("RGB", (32, 24), (index, 0, 0)).save(images / f"{index}.png")
    return images


def entry(folder, name, rows, **settings):
    """The dataset entry of a table beside six pictures."""
    images = six_pictures(folder)
    return {"reader": "table", "table": str(written(folder, name, rows)), "images": str(images), **settings}
