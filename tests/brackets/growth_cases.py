"""The published growth vectors of tests/data/growth.json, as structures."""

import json
from pathlib import Path

import casadi as ca

import subriem as sr

ENTRIES = json.loads((Path(__file__).parents[1] / "data" / "growth.json").read_text())
BY_NAME = {entry["name"]: entry for entry in ENTRIES}
NAMES = {
    "sin": ca.sin,
    "cos": ca.cos,
    "tan": ca.tan,
    "exp": ca.exp,
    "Ne": lambda a, b: a != b,
    "Piecewise": lambda first, last: ca.if_else(first[1], first[0], last[0]),
}


def structure(entry, scale_fields=None, scale_coordinates=None):
    """The structure of an entry, with fields and coordinates in other units on request."""
    coords = entry["coords"]
    fields = scale_fields or [1.0] * len(entry["frame"])
    units = dict(zip(coords, scale_coordinates or [1.0] * len(coords), strict=True))

    def frame(q):
        names = {**NAMES, **{c: q[c] / units[c] for c in coords}}
        return [
            tuple(
                factor * units[c] * eval(text, names) for c, text in zip(coords, field, strict=True)
            )
            for factor, field in zip(fields, entry["frame"], strict=True)
        ]

    return sr.Structure.define(entry["name"], coords, frame)
