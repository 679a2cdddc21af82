"""The confusion matrix of the chosen model: which class was taken for which."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompress.report.document import Report
from edgecompress.report.text import Figure, count, percent, plural, shortened

LARGE = 24  # with more classes the matrix is drawn without numbers


@dataclass(frozen=True)
class Cell:
    """One true class (row) and predicted class (column); `heat` is the share of the row, 0 to 1."""

    row: int
    column: int
    samples: int
    heat: float
    tip: str


@dataclass(frozen=True)
class ClassRow:
    """Recall and precision of one class."""

    name: str
    samples: str
    recall: Figure
    precision: Figure
    recall_share: float
    worst: bool


@dataclass(frozen=True)
class Confusion:
    """Everything that the section shows."""

    names: tuple[str, ...]
    labels: tuple[str, ...]  # short enough for a column head
    cells: tuple[tuple[Cell, ...], ...]
    filled: tuple[Cell, ...]  # for a large matrix: only what is not 0
    large: bool
    classes: tuple[ClassRow, ...]
    mistakes: tuple[str, ...]
    samples: int


def confusion_section(report: Report) -> Confusion | None:
    """The matrix with its figures, or None if the test part was not run."""
    matrix, names = report.summary.confusion, report.data.classes
    if matrix is None:
        return None
    cells = tuple(tuple(_cell(row, column, line, names) for column in range(len(line))) for row, line in enumerate(matrix))
    recalls = [line[index] / sum(line) if sum(line) else 1.0 for index, line in enumerate(matrix)]
    large = len(names) > LARGE
    return Confusion(
        names=names,
        labels=tuple(shortened(name, 7) for name in names),
        cells=() if large else cells,
        filled=tuple(cell for line in cells for cell in line if cell.samples) if large else (),
        large=large,
        classes=tuple(_class_row(index, matrix, names, recalls) for index in range(len(names))),
        mistakes=_mistakes(matrix, names),
        samples=sum(map(sum, matrix)),
    )


def _cell(row: int, column: int, line: tuple[int, ...], names: tuple[str, ...]) -> Cell:
    share = line[column] / sum(line) if sum(line) else 0.0
    if not line[column]:
        return Cell(row, column, 0, 0.0, "")
    verb = "recognised" if row == column else f"taken for {names[column]}"
    return Cell(row, column, line[column], round(share, 3), f"{names[row]}: {plural(line[column], 'sample')} {verb} ({percent(share)} of the class)")


def _class_row(index: int, matrix: tuple[tuple[int, ...], ...], names: tuple[str, ...], recalls: list[float]) -> ClassRow:
    samples, predicted = sum(matrix[index]), sum(line[index] for line in matrix)
    hit = matrix[index][index]
    return ClassRow(
        name=names[index],
        samples=count(samples),
        recall=Figure(percent(hit / samples)) if samples else Figure("no sample of this class", False),
        precision=Figure(percent(hit / predicted)) if predicted else Figure("never predicted", False),
        recall_share=round(hit / samples, 3) if samples else 0.0,
        worst=samples > 0 and recalls[index] == min(recalls) and recalls[index] < 1,
    )


def _mistakes(matrix: tuple[tuple[int, ...], ...], names: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [(samples, row, column) for row, line in enumerate(matrix) for column, samples in enumerate(line) if samples and row != column]
    wrong.sort(key=lambda item: (-item[0], item[1], item[2]))
    return tuple(f"{names[row]} taken for {names[column]}: {count(samples)} of {count(sum(matrix[row]))}" for samples, row, column in wrong[:5])
