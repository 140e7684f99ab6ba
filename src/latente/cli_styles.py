"""The verbs of generators with styles: mix, truncation, noise. torch and everything heavy is imported inside them."""

from typing import Any

from latente.cli_arguments import parse_words, positive, take_many, whole
from latente.cli_explore import SHARED, beginnings, delivered, entered, numbers, out_of, words_of
from latente.messages import Problem

_MOST_DRAWS = 10_000


def mix(argv: list[str]) -> int:
    """Styles of some images in others."""
    photos, argv = take_many(argv, "--source")
    flags = {"--rows": str, "--columns": str, "--layers": str, "--space": str}
    options = parse_words(argv, SHARED | flags, ("run",))
    if len(photos) > 2:
        raise Problem("explore.two_photos", given=len(photos))
    out, _ = out_of(options["out"], "mix.png", films=False)
    place = entered(options, "mix")
    from latente.exploration import styles

    styles.needs_styles(place, "mix")
    which = styles.layers_called(place.net, options["layers"] or ",".join(styles.GROUPS))
    rows = photos[:1] + words_of(options["rows"] or (None if photos else "0,1,2"))
    columns = photos[1:] + words_of(options["columns"] or (None if len(photos) > 1 else "10,11,12,13,14"))
    space = options["space"] or "w+"
    sheet, facts = styles.mix(place, beginnings(place, rows), beginnings(place, columns), which, space)
    return delivered(sheet, None, facts, out, options)


def truncation(argv: list[str]) -> int:
    """Images drawn towards the mean style, and beyond it."""
    flags: dict[str, Any] = {"--seeds": str, "--cutoff": whole}
    options = parse_words(argv, SHARED | flags, ("run",))
    psis = numbers(options["truncation"], "--truncation")
    out, _ = out_of(options["out"], "truncation.png", films=False)
    place = entered(options | {"truncation": None}, "truncation")
    from latente.exploration import styles

    styles.needs_styles(place, "truncation")
    seeds = beginnings(place, words_of(options["seeds"] or "0,1,2,3"))
    sheet, facts = styles.truncation(place, seeds, psis or styles.PSIS, options["cutoff"])
    return delivered(sheet, None, facts, out, options)


def noise(argv: list[str]) -> int:
    """The same styles with other noise."""
    flags: dict[str, Any] = {"--seeds": str, "--draws": positive, "--noise-seed": whole}
    options = parse_words(argv, SHARED | flags, ("run",))
    draws = options["draws"] or 100
    if not 2 <= draws <= _MOST_DRAWS:
        raise Problem("explore.steps", given=draws, most=_MOST_DRAWS)
    out, _ = out_of(options["out"], "noise.png", films=False)
    place = entered(options, "noise")
    from latente.exploration import styles

    styles.needs_styles(place, "noise")
    sources = beginnings(place, words_of(options["seeds"] or "0,1,2"))
    sheet, facts = styles.noise(place, sources, draws, seed=options["noise-seed"] or 0)
    return delivered(sheet, None, facts, out, options)
