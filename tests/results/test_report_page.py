"""The report in a real browser: what a reader sees, with which controls, on which screen."""

import io
import os
import re
import shutil
from itertools import pairwise

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

import subriem as sr
from subriem.results import build_dataset, combine_tasks, provenance, write_report

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 2'><b>bold</b>"


def no_browser(reason):
    if os.environ.get("SUBRIEM_REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = next(filter(None, found), None)
    if path is None:
        no_browser("no Chromium here: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        no_browser("playwright is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def show(browser, tmp_path_factory):
    """Write the report of a dataset and open it; what went wrong in it is on the page."""
    folder = tmp_path_factory.mktemp("reports")

    def open_page(dataset, width=1000, scheme="light", drawn=True, **more):
        path = write_report(dataset, folder / "report.html")
        size = {"width": width, "height": 740}
        page = browser.new_page(viewport=size, color_scheme=scheme, **more)
        page.problems, page.requests, page.bytes = [], [], path.stat().st_size
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "console",
            lambda message: page.problems.append(message.text) if message.type == "error" else None,
        )
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        if drawn:
            page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
        return page

    return open_page


@pytest.fixture(scope="module")
def one_study(show):
    """The page of a study, for tests that only look at it."""
    return show(study())


# ------------------------------------------------------------------ what is shown


def orbit(kind="adapted", rate=2.0, steps=30):
    """An orbit as `flow` makes it, along the curve that the paper predicts."""
    time = np.linspace(0, 6, steps)
    loss = 3.0 * np.exp(-rate * time)
    spectrum = np.stack([2.0 + 0 * time, 1.0 + 0 * time, np.exp(-time)], axis=1)
    outputs = np.stack([np.cos(time), np.sin(time)], axis=1)[:, None, :]
    columns = {
        "loss": loss,
        "predicted_loss": loss,
        "path_length": 1 - np.exp(-time),
        "rank": np.full(steps, 3),
        "rank_tolerance": np.full(steps, 1e-9),
        "smallest_singular_value": spectrum[:, 2],
        "largest_singular_value": spectrum[:, 0],
    }
    return build_dataset(
        {
            **{name: ("time", values, f"the {name}", "1") for name, values in columns.items()},
            "singular_values": (("time", "singular_value"), spectrum, "singular values", "1"),
            "outputs": (("time", "sample", "output"), outputs, "outputs of the network", "1"),
            "steps_taken": ((), steps, "steps taken", "1"),
        },
        {"time": ("time", time, "time of the flow", "s")},
        function="subriem.flow",
        arguments={"kind": kind},
        attributes={
            "kind": kind,
            "status": "converged",
            "regime": "full row rank",
            "stopping_time": 5.25,
            "tolerance": 1e-4,
            "minimum_loss": 0.0,
        },
    )


def study(message="ValueError: rank lost"):
    """A study of four tasks, of which one failed."""
    tasks = [orbit("adapted"), orbit("gradient", 0.5), orbit("adapted", 3.0, 12), None]
    grid = {"width": [4, 8], "kind": ["adapted", "gradient"]}
    attributes = {**provenance("Study.run", seed=7), "study": "decay"}
    whole = combine_tasks(tasks, grid, {**attributes, "question": "Does the loss decay?"})
    columns = {
        "task_status": [["ok", "ok"], ["ok", "failed"]],
        "task_message": [["", ""], ["", message]],
        "task_seconds": [[1.0, 2.0], [3.0, 0.5]],
    }
    units = {"task_seconds": "s"}
    for name, values in columns.items():
        attrs = {"long_name": name.replace("_", " "), "units": units.get(name, "1")}
        whole[name] = (("width", "kind"), np.array(values), attrs)
    return whole


def hostile():
    """Every text that a file may hold, as a script."""
    values = np.array([1.0, 2.0, 3.0])
    return xr.Dataset(
        {
            "height": ("place", values, {"long_name": HOSTILE, "units": HOSTILE}),
            "label": ("place", [HOSTILE, "b", "c"], {"long_name": "label"}),
        },
        {"place": ("place", [HOSTILE, "two", "three"], {"long_name": HOSTILE})},
        {"function": HOSTILE, "question": HOSTILE, HOSTILE: HOSTILE, "arguments": {"x": HOSTILE}},
    )


def plane():
    """Growth vectors over two angles, two of them."""
    vector = np.tile([2, 3], (5, 7, 1))
    vector[2, :, 1] = 2
    return xr.Dataset(
        {
            "growth_vector": (("a", "b", "step"), vector),
            "degree_of_nonholonomy": (("a", "b"), vector[..., 1] - 1),
        },
        {"a": np.linspace(0, 1, 5), "b": np.linspace(0, 1, 7), "step": [1, 2]},
        {"function": "lie_flag"},
    )  # fmt: skip


def plots(page):
    return page.locator(".plot")


def data(page, kind):
    """What plotly draws in the figure of a kind: its traces, axes and shapes."""
    return page.evaluate(
        """(kind) => {
            const plot = document.querySelector(`figure[data-kind^="${kind}"] .plot`);
            const full = plot._fullLayout;
            const axis = (one) => one && { type: one.type, title: one.title.text };
            return {
                traces: plot.data.map((t) => ({ name: t.name, type: t.type,
                    x: Array.from(t.x), y: Array.from(t.y) })),
                x: axis(full.xaxis), y: axis(full.yaxis),
                shapes: (full.shapes || []).map((shape) => shape.x0), legend: full.showlegend,
            };
        }""",
        kind,
    )


def choose(page, kind, label, value):
    figure = page.locator(f'figure[data-kind^="{kind}"]')
    figure.get_by_label(label, exact=True).select_option(value)


def colours(locator):
    """How many colours a picture of a part of the page has."""
    pixels = matplotlib.image.imread(io.BytesIO(locator.screenshot()), format="png")
    levels = np.round(pixels[..., :3] * 255).astype(int)
    return len(np.unique(levels @ [65536, 256, 1]))


# ------------------------------------------------------------------ every kind of result


def check_clean(page):
    assert page.problems == []
    own = [url for url in page.requests if url.startswith("file://")]
    others = [url for url in page.requests if not url.startswith(("file://", "data:", "blob:"))]
    assert (len(own), others) == (1, [])


def test_geodesics_and_a_wave_front_are_drawn(show):
    heisenberg = sr.models.heisenberg()
    angle = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    covectors = np.stack([np.cos(angle), np.sin(angle), np.full(6, 2.0)], axis=1)
    fan = sr.exponential(heisenberg, [0, 0, 0], covectors, np.linspace(0, 2, 40))
    page = show(fan, width=360)
    check_clean(page)
    check_narrow(page)
    traces = data(page, "task paths")["traces"]
    assert traces[2]["name"] == "geodesic 2"
    assert traces[2]["x"] == fan.state.values[2, :, 0].tolist()
    assert [trace["name"] for trace in traces[6:]] == ["start", "end"]
    assert colours(plots(page).first) > 20
    page.close()

    front = sr.wavefront(heisenberg, [0, 0, 0], 1.0, vertical=[-3, -1, 1, 3], angles=6)
    page = show(front, scheme="dark")
    check_clean(page)
    surface = page.evaluate("document.querySelector('.plot').data[0]")
    assert surface["type"] == "surface"
    assert surface["z"][1] == front.state.values[1, :, 2].tolist()
    assert surface["z"][-1] == surface["z"][0]
    assert colours(plots(page).first) > 20
    page.close()


def test_an_orbit_is_drawn_as_it_is_in_the_file(show):
    dataset = orbit()
    page = show(dataset)
    check_clean(page)
    loss = data(page, "task loss")
    by_name = {trace["name"]: trace for trace in loss["traces"]}
    assert by_name["adapted"]["x"] == dataset.time.values.tolist()
    assert by_name["adapted"]["y"] == dataset.loss.values.tolist()
    assert by_name["predicted"]["y"] == dataset.predicted_loss.values.tolist()
    assert "stopping time 5.25" in by_name
    assert loss["shapes"] == [5.25]
    assert (loss["y"]["type"], loss["y"]["title"]) == ("log", "the loss")
    assert loss["x"]["title"] == "time of the flow (s)"
    spectrum = {trace["name"]: trace for trace in data(page, "task spectrum")["traces"]}
    assert spectrum["smallest"]["y"] == dataset.smallest_singular_value.values.tolist()
    assert spectrum["counted as zero"]["y"] == [1e-9] * 30
    assert "Rank of D: 3, decided by the tolerance." in page.locator("main").inner_text()
    outputs = data(page, "task outputs")["traces"][0]
    assert outputs["y"] == dataset.outputs.values[:, 0, 1].tolist()
    assert all(colours(plot) > 20 for plot in plots(page).all())


def test_growth_vectors_are_a_map(show):
    page = show(plane())
    check_clean(page)
    assert {"(2)", "(2, 3)"} <= {t["name"] for t in data(page, "task map")["traces"]}


def test_any_other_dataset_has_a_page(show):
    day = np.arange(4).astype("datetime64[D]")
    mixed = {
        "word": ("place", ["a", "b"]),
        "nothing": ("spot", np.full(5, np.nan)),
        "none": ("empty", np.zeros(0)),
        "wave": ("t", np.exp(1j * np.arange(4))),
        "day": ("t", day),
        "wait": ("t", day - day[0]),
        "yes": ("t", [True, False, True, True]),
    }
    page = show(xr.Dataset())
    check_clean(page)
    assert "There is nothing to draw" in page.locator("#figures").inner_text()
    page.close()
    page = show(xr.Dataset(mixed))
    check_clean(page)
    listed = page.get_by_label("variable", exact=True).locator("option")
    names = [text.split(":")[0] for text in listed.all_inner_texts()]
    assert sorted(names) == sorted(
        ["word", "nothing", "wave (real part)", "wave (imaginary part)", "day", "wait", "yes"]
    )
    for name in names:
        choose(page, "task explore", "variable", name)
    check_clean(page)
    page.close()


def test_what_cannot_be_drawn_is_counted(show):
    values = np.array([1e-3, np.nan, np.inf, 0.0, -1.0, 5.0, 1e4])
    page = show(xr.Dataset({"error": ("time", values)}, {"time": np.arange(7.0)}))
    check_clean(page)
    caption = page.locator("figcaption")
    assert "2 points are not drawn" in caption.inner_text()
    page.get_by_label("logarithmic up").check()
    assert "4 points are not drawn" in caption.inner_text()
    assert data(page, "task explore")["y"]["type"] == "log"


def test_a_large_dataset_says_what_was_thinned(show):
    time = np.linspace(0, 1, 400_000)
    dataset = xr.Dataset({"height": ("time", np.sin(9 * time))}, {"time": time})
    page = show(dataset)
    check_clean(page)
    drawn = data(page, "task explore")["traces"][0]
    assert len(drawn["x"]) == 5000
    assert (drawn["x"][0], drawn["x"][-1]) == (0.0, 1.0)
    assert "time: 5,000 of 400,000 points are drawn" in page.locator("figcaption").inner_text()
    assert page.bytes < 8e6


# ------------------------------------------------------------------ a study, and its controls


def test_the_controls_of_a_study_change_the_figures(show):
    page = show(study())
    check_clean(page)
    assert page.locator("h1").inner_text() == "decay"
    assert page.locator(".question").inner_text() == "Does the loss decay?"

    def last_loss(name):
        traces = {trace["name"]: trace for trace in data(page, "task loss")["traces"]}
        return traces[name]["y"][-1] / 3.0

    panel = page.locator(".tasks")
    assert last_loss("adapted") == pytest.approx(np.exp(-12))
    panel.get_by_label("kind").select_option(label="gradient")
    assert last_loss("gradient") == pytest.approx(np.exp(-3))
    # beside it the other width, whose task of this kind failed, then the other kind
    choose(page, "task loss", "beside it, other", "0")
    assert [t["name"] for t in data(page, "task loss")["traces"]][:2] == ["predicted", "gradient"]
    choose(page, "task loss", "beside it, other", "1")
    assert last_loss("adapted") == pytest.approx(np.exp(-12))

    page.locator('figure[data-kind^="task loss"]').get_by_label("logarithmic loss").uncheck()
    assert data(page, "task loss")["y"]["type"] == "linear"
    choose(page, "task explore", "variable", "path_length")
    assert data(page, "task explore")["y"]["title"] == "the path_length"
    choose(page, "task explore", "over", "loss")
    assert data(page, "task explore")["x"]["title"] == "the loss"
    choose(page, "across explore", "variable", "task_seconds")
    across = data(page, "across explore")["traces"]
    assert sorted(value for trace in across for value in trace["y"]) == [0.5, 1, 2, 3]
    choose(page, "across explore", "variable", "steps_taken")
    across = data(page, "across explore")["traces"]
    # the task that failed took no steps, not none and not the padding
    assert sorted(v for t in across for v in t["y"] if v == v) == [12, 30, 30]

    panel.get_by_label("width").select_option(label="8")
    assert "width = 8, kind = gradient: failed. No figures: ValueError: rank lost" in (
        panel.inner_text()
    )
    assert page.locator('figure[data-kind^="task"]:visible').count() == 0
    check_clean(page)


def test_controls_work_from_the_keyboard_and_have_names(one_study):
    page = one_study
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("select, input")].filter(
            (one) => !(one.labels.length && one.labels[0].textContent.trim())).length"""
    )
    assert unnamed == 0
    figure = page.locator('figure[data-kind^="task explore"]')
    variable = figure.get_by_label("variable", exact=True)
    variable.focus()
    before = data(page, "task explore")["y"]["title"]
    page.keyboard.press("ArrowDown")
    assert data(page, "task explore")["y"]["title"] != before
    # drawn anew, and the focus stays where it was
    assert page.evaluate("document.activeElement.dataset.key") == "task explore  variable"
    box = figure.get_by_label("logarithmic across")
    box.focus()
    page.keyboard.press("Space")
    assert data(page, "task explore")["x"]["type"] == "log"
    for plot in plots(page).all():
        assert len(plot.get_attribute("aria-label")) > 10
        assert plot.get_attribute("role") == "img"


def test_failures_are_listed_also_without_a_script(show, one_study):
    for page in (one_study, show(study(), drawn=False, java_script_enabled=False)):
        failures = page.locator("#failures")
        assert "1 task did not end well." in failures.inner_text()
        assert failures.locator("li").inner_text().split("\n") == [
            "width = 8, kind = gradient",
            "failed: ValueError: rank lost",
        ]
        rows = page.locator("#tables table").first.locator("tbody tr").all_inner_texts()
        assert [row.split("\t")[:4] for row in rows] == [
            ["8", "gradient", "failed", "0.5"],
            ["4", "adapted", "ok", "1"],
            ["4", "gradient", "ok", "2"],
            ["8", "adapted", "ok", "3"],
        ]
        seed = page.locator("#provenance dl > div", has_text="seed")
        assert seed.inner_text().split() == ["seed", "7"]


def test_a_study_of_which_no_task_is_done(show):
    grid = {"seed": [0, 1]}
    attributes = {**provenance("Study.run"), "study": "none"}
    dataset = combine_tasks([None, None], grid, attributes)
    dataset["task_status"] = ("seed", ["failed", "failed"])
    dataset["task_message"] = ("seed", ["MemoryError", "killed"])
    dataset["task_seconds"] = ("seed", [0.1, 0.2])
    page = show(dataset)
    check_clean(page)
    assert page.locator("#failures li").count() == 2
    assert "No task has figures." in page.locator("#figures").inner_text()


# ------------------------------------------------------------------ hostile texts


@pytest.mark.parametrize("dataset", [hostile(), study(HOSTILE)], ids=["texts", "message"])
def test_texts_of_a_file_stay_texts(show, dataset):
    page = show(dataset)
    page.wait_for_timeout(100)
    check_clean(page)
    assert page.evaluate("window.hit") is None
    assert page.locator("main img, main b, header img").count() == 0
    assert HOSTILE in " ".join(page.locator("body").inner_text().split("\n"))
    if "height" in dataset:
        # plotly would take some of it for markup
        title = page.locator(".ytitle").text_content()
        assert re.sub(r"\s", "", f"{HOSTILE} ({HOSTILE})") == re.sub(r"\s", "", title)


def test_the_policy_of_the_page_lets_nothing_in(show):
    page = show(xr.Dataset({"length": 2.5}))
    page.route(
        "https://example.org/",
        lambda route: route.fulfill(body="x", headers={"Access-Control-Allow-Origin": "*"}),
    )
    outcome = page.evaluate(
        """async () => {
            const added = document.createElement("script");
            added.textContent = "window.hit = 3";
            document.body.append(added);
            const answer = await fetch("https://example.org/").then(() => "let", () => "kept");
            return [answer, window.hit ?? null];
        }"""
    )
    assert outcome == ["kept", None]


# ------------------------------------------------------------------ screens and paper


def check_narrow(page):
    """Nothing is wider than the screen; tables scroll in their own box."""
    width = page.viewport_size["width"]
    wide = page.evaluate(
        """(width) => [...document.querySelectorAll("body *")].filter((one) =>
            !one.closest(".scroll *, .plot *") && one.getBoundingClientRect().right > width + 0.5
        ).map((one) => one.outerHTML.slice(0, 80))""",
        width,
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = page.locator(".scroll").all()
    assert any(box.evaluate("box => box.scrollWidth > box.clientWidth") for box in boxes)
    for plot in plots(page).all():
        if plot.is_visible():
            assert plot.bounding_box()["width"] > 0.8 * width


def test_nothing_is_wider_than_a_phone(show):
    page = show(study(), width=360)
    check_clean(page)
    check_narrow(page)
    # the figures fit a screen that is turned, too
    page.set_viewport_size({"width": 740, "height": 360})
    page.wait_for_timeout(300)
    widths = page.evaluate(
        """() => [...document.querySelectorAll(".plot")].filter((plot) => plot.checkVisibility())
            .map((plot) => [plot.clientWidth, plot._fullLayout.width])"""
    )
    assert all(inside == drawn for inside, drawn in widths)
    page.close()


# The contrast of every text with what is behind it (WCAG 2), the least first.
CONTRAST = """() => {
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const part = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const luminance = (c) => {
        const [r, g, b] = c.slice(0, 3).map((v) => part(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
        for (let outer = one; outer; outer = outer.parentElement) {
            const found = rgb(getComputedStyle(outer).backgroundColor);
            if (found.length === 3) return found;
        }
        return [255, 255, 255];
    };
    const isText = (node) => node.nodeType === 3 && node.textContent.trim();
    return [...document.querySelectorAll("body *")].filter((one) =>
        [...one.childNodes].some(isText) && one.checkVisibility()
        && !one.closest("script, option, noscript")
    ).map((one) => {
        const style = getComputedStyle(one);
        const ink = luminance(rgb(one.closest("svg") ? style.fill : style.color));
        const [least, most] = [ink, luminance(behind(one))].sort((a, b) => a - b);
        return [(most + 0.05) / (least + 0.05), one.textContent.slice(0, 30)];
    }).sort((a, b) => a[0] - b[0]);
}"""


def test_dark_and_light_can_be_read(show):
    backgrounds = {}
    page = show(study())
    images = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        contrasts = page.evaluate(CONTRAST)
        assert len(contrasts) > 60
        assert contrasts[0][0] >= 4.5, (scheme, contrasts[:3])
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        backgrounds[scheme] = sum(map(int, re.findall(r"\d+", background)[:3]))
        images[scheme] = plots(page).nth(1).screenshot()
    assert backgrounds["light"] > 600 > 200 > backgrounds["dark"]
    assert images["light"] != images["dark"]
    check_clean(page)
    # paper is light, whatever the screen, and nobody clicks on it
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_timeout(300)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(CONTRAST)[0][0] >= 4.5
    assert page.locator(".controls:visible, nav:visible").count() == 0


def test_the_page_is_well_formed_for_those_who_listen(one_study):
    page = one_study
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title() == "decay"
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3, h4')].map((one) => +one.tagName[1])"
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    # no level is left out on the way down
    assert all(b - a <= 1 for a, b in pairwise(levels))
    anchors = page.evaluate(
        '() => [...document.querySelectorAll("nav a")].every((a) => document.querySelector(a.hash))'
    )
    assert anchors
