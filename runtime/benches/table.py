"""Makes the table of ../README.md of a CSV of run: python3 table.py FILE."""

import csv
import sys

UNITS = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")]
THOUSANDTHS = ", in thousandths"
BYTES = [(1e6, "MB"), (1e3, "KB"), (1, "B")]


def amount(row, value):
    value = float(value)
    if row.startswith("live"):
        return f"{value:,.0f}"
    if row.endswith(THOUSANDTHS):
        return f"{value / 1000:.3g}"
    units = BYTES if row.endswith(", bytes") or row.startswith("resident") else UNITS
    size, unit = next((size, unit) for size, unit in units if value >= size or size == 1)
    value /= size
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def missed(row):
    """Whether the ratio misses the goal, or this library's own figure, if the goal is about that."""
    goal = row["goal"].split()
    figure = float(row["ours" if goal[0] == "this" else "ratio"])
    return figure < float(goal[-1]) if "least" in goal else figure > float(goal[-1])


with open(sys.argv[1], encoding="utf-8") as file:
    rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
print("| | released | this | ratio (quartiles) | goal |")
print("|---|---:|---:|---:|---:|")
for row in rows:
    told, goal = f"{float(row['ratio']):.3g}", row["goal"]
    if missed(row):
        told = f"**{told}**"
    if row["lower_quartile"]:
        told += f" ({float(row['lower_quartile']):.3g} – {float(row['upper_quartile']):.3g})"
    if goal.startswith("this"):
        bound, number = goal.rsplit(" ", 1)
        goal = f"{bound} {amount(row['row'], number)}"
    name = row["row"].removesuffix(THOUSANDTHS).removesuffix(", bytes").replace("resident bytes", "resident memory")
    print(f"| {name} | {amount(row['row'], row['released'])} | {amount(row['row'], row['ours'])} | {told} | {goal} |")
