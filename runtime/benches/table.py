"""Makes the table of ../README.md of a CSV of run: python3 table.py FILE."""

import csv
import sys

UNITS = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")]
BYTES = [(1e6, "MB"), (1e3, "KB"), (1, "B")]


def amount(row, value):
    value = float(value)
    if row.startswith("live"):
        return f"{value:,.0f}"
    units = BYTES if row.endswith(", bytes") or row.startswith("resident") else UNITS
    size, unit = next((size, unit) for size, unit in units if value >= size or size == 1)
    value /= size
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def missed(ratio, goal):
    if goal.startswith("at least"):
        return ratio < float(goal.split()[-1])
    return ratio > float(goal)


with open(sys.argv[1], encoding="utf-8") as file:
    rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
print("| | released | this | ratio (quartiles) | goal |")
print("|---|---:|---:|---:|---:|")
for row in rows:
    name, ratio = row["row"], float(row["ratio"])
    told = f"{ratio:.3g}"
    if missed(ratio, row["goal"]):
        told = f"**{told}**"
    if row["lower_quartile"]:
        told += f" ({float(row['lower_quartile']):.3g} – {float(row['upper_quartile']):.3g})"
    name = name.removesuffix(", bytes").replace("resident bytes", "resident memory")
    print(f"| {name} | {amount(row['row'], row['released'])} | {amount(row['row'], row['ours'])} | {told} | {row['goal']} |")
