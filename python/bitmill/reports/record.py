# SPDX-License-Identifier: MIT
"""The report on a quantized checkpoint: what the conversion told, and what its files show."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from bitmill.checkpoint import Health, Measure, Report, TensorReport
from bitmill.checkpoint.write import replace_file, write_file
from bitmill.reports.curve import Curve
from bitmill.reports.errors import ErrorMap
from bitmill.reports.files import destinations
from bitmill.reports.levels import Histogram
from bitmill.reports.page import page
from bitmill.reports.rows import csv_of
from bitmill.reports.totals import Totals, share_of, totals_of

VERSION = 1


@dataclass(frozen=True, slots=True)
class Details:
    """What one tensor shows beside its `TensorReport`; of a tensor that was kept, nothing."""

    histogram: Histogram | None = None
    """Of the source's values, or without it of the dequantized ones."""
    scales: tuple[float, float, float] | None = None
    """Least, middle and largest magnitude of a scale."""
    errors: ErrorMap | None = None
    """None without the source, and where nothing is lost."""
    peak: float | None = None
    """The largest magnitude over the root of the mean square: 3 to 6 in weights without outliers,
    of the values of the histogram."""
    alternatives: dict[str, Measure] = field(default_factory=dict)
    """By label, what candidates would take and lose."""
    left_out: dict[str, str] = field(default_factory=dict)
    """By label, why a candidate does not suit."""
    label: str | None = None
    """The candidate that was chosen."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, without what is not known."""
        said: dict[str, Any] = {
            "histogram": self.histogram and self.histogram.to_dict(),
            "scales": self.scales and list(self.scales),
            "errors": self.errors and self.errors.to_dict(),
            "peak": self.peak,
            "alternatives": {label: m.to_dict() for label, m in self.alternatives.items()},
            "left_out": self.left_out,
            "chosen": self.label,
        }
        return {name: value for name, value in said.items() if value not in (None, {})}


@dataclass(frozen=True, slots=True)
class FullReport:
    """What became of a checkpoint, tensor by tensor, with what is needed to judge it.

    `to_html`, `to_json` and `to_csv` are the files of `bitmill report`; they hold neither times nor
    paths, and are the same for the same folder, source and sensitivity.
    """

    report: Report
    """What the conversion told."""
    details: dict[str, Details]
    """By tensor; of those that were quantized, or might have been."""
    made_by: str
    """The version of bitmill that quantized."""
    command: str | None
    """How, with SRC and DST in place of paths; None if it was not by the command line."""
    sources: dict[str, int]
    """The weight files that were read, and their bytes."""
    model: str | None
    """The architecture, as config.json has it."""
    has_source: bool
    """Whether the source was at hand: else there is no map of errors, and histograms are of what
    was made of the weights."""
    curve: Curve | None
    """None where no alternatives were measured."""

    @property
    def tensors(self) -> tuple[TensorReport, ...]:
        """All tensors, in the order of the source."""
        return self.report.tensors

    @property
    def worst_first(self) -> list[TensorReport]:
        """All tensors: those that lost most first, then by name."""
        return sorted(self.tensors, key=lambda t: (t.layer is None, t.sqnr_db, t.name))

    @property
    def totals(self) -> Totals:
        """Of the whole checkpoint."""
        return totals_of(self.report)

    @property
    def health(self) -> Health:
        """The counts of all tensors."""
        names = [f.name for f in fields(Health)]
        return Health(**{n: sum(getattr(t.health, n) for t in self.tensors) for n in names})

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        total = self.totals.error
        return {
            "version": VERSION,
            "bitmill": self.made_by,
            "command": self.command,
            "model": self.model,
            "sources": self.sources,
            "has_source": self.has_source,
            "totals": self.totals.to_dict(),
            "health": asdict(self.health),
            "notes": list(self.report.notes),
            "not_copied": list(self.report.not_copied),
            "frontier": self.curve and self.curve.to_dict(),
            "tensors": [
                {
                    **tensor.to_dict(),
                    "scheme": tensor.layer and tensor.layer.describe(),
                    "error_share": share_of(tensor, total),
                    **self.details.get(tensor.name, Details()).to_dict(),
                }
                for tensor in self.tensors
            ],
        }

    def to_json(self) -> str:
        """All of it, on one line: times, hosts and paths are not in it."""
        said = self.to_dict()
        return json.dumps(said, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """A line for each tensor, the worst first. Names that a spreadsheet would compute begin
        with an apostrophe."""
        return csv_of(self.worst_first, self.totals.error)

    def to_html(self) -> str:
        """One page that needs nothing else, for a browser or a mail."""
        order = [tensor.name for tensor in self.worst_first]
        return page(self.to_dict(), order)

    def save(
        self,
        html: str | os.PathLike[str] | None = None,
        *,
        csv: str | os.PathLike[str] | None = None,
        json: str | os.PathLike[str] | None = None,
    ) -> None:
        """Write the page, with CSV and JSON beside it or where they are told to go; or these alone.

        Files of the same names are replaced. ValueError if two are one.
        """
        texts = {"html": self.to_html, "csv": self.to_csv, "json": self.to_json}
        for kind, path in destinations(html, csv=csv, json=json).items():
            with replace_file(path) as temporary:
                write_file(temporary, texts[kind]().encode())
