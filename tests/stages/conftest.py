"""What every figure is held to."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


@pytest.fixture
def assert_readable(monkeypatch):
    """Check that no text leaves the figure or lies on other text, and that legends do not touch the panels."""
    texts, draw = [], Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, renderer: (texts.append(text), draw(text, renderer)))

    def check(figure):
        FigureCanvasAgg(figure).draw()
        page = figure.bbox.padded(0.5)
        boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_visible() and t.get_text().strip()]
        assert len(boxes) > 5
        for text, box in boxes:
            assert page.x0 <= box.x0 <= box.x1 <= page.x1, f"{text!r} is cut off at a side"
            assert page.y0 <= box.y0 <= box.y1 <= page.y1, f"{text!r} is cut off above or below"
        for (one, a), (two, b) in combinations(boxes, 2):
            assert not a.padded(-1).overlaps(b.padded(-1)), f"{one!r} lies on {two!r}"
        for legend in figure.legends:
            for axes in figure.axes:
                assert not legend.get_window_extent().overlaps(axes.get_window_extent()), "the legend covers a panel"

    return check
