"""A classifier beside a bag of words on the same texts: `python bench/classifier.py LABELLED --out DIR POSITIVE...`.

The bag of words is what one would try first (words and pairs of words, tf-idf, logistic regression; scikit-learn). Both
learn from the same texts and are measured on the same held-out ones. One JSON line each.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from steersman.assemble.classifier import run_classifier
from steersman.evaluate.classification import ClassifierQuality, measure_classifier
from steersman.records import ClassifiedText
from steersman.settings.base import load_settings
from steersman.settings.classifier import ClassifierSettings
from steersman.training_data.split import DataSide

OURS = [
    "data.held_out=0.2",
    "data.max_length=96",
    "optimiser.learning_rate=1e-3",
    "train.batch_size=64",
    "run.threads=1",
]


def texts(settings: ClassifierSettings, *, held_out: bool) -> tuple[list[str], list[int]]:
    rows = DataSide(settings.data, held_out=held_out, quarantine=None).records()
    found = [row for row in rows if isinstance(row, ClassifiedText)]
    return [row.text for row in found], [int(row.label in settings.positive) for row in found]


def bag_of_words(settings: ClassifierSettings) -> ClassifierQuality:
    known, labels = texts(settings, held_out=False)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2), LogisticRegression(C=10, max_iter=1000))
    model.fit(known, labels)
    asked, right = texts(settings, held_out=True)
    return measure_classifier(model.predict_proba(asked)[:, 1].tolist(), right)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("positive", nargs="+")
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args(arguments)
    words = [f"data.source={given.data}", f"positive={json.dumps(given.positive)}", f"run.out={given.out}"]
    settings = load_settings(ClassifierSettings, None, [*OURS, f"train.epochs={given.epochs}", *words])
    started = time.monotonic()
    run_classifier(settings, quiet=True)
    ours = json.loads((Path(given.out) / "quality.json").read_text())
    print(json.dumps({"what": "classifier", "seconds": round(time.monotonic() - started, 1), **ours}))
    started = time.monotonic()
    words_alone = bag_of_words(settings).as_dict()
    print(json.dumps({"what": "bag of words", "seconds": round(time.monotonic() - started, 1), **words_alone}))


if __name__ == "__main__":
    main()
