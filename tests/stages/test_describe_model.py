"""The page of a model: its first question in colour, its patches, and what the check at load found."""

import base64
import io
import json
import re
from pathlib import Path

from PIL import Image

from pidflow.models.standin import architecture
from pidflow.stages import describe_model

PAGE = Path(__file__).resolve().parents[2] / "workflow/report/page"


def test_a_page_shows_spans_patches_and_the_check(write_items, saved_model, tmp_path):
    items = write_items(3)
    page, findings = tmp_path / "page.html", tmp_path / "found.json"
    model = {"family": "llava", "path": str(saved_model), "prompt": architecture.PROMPT}
    describe_model.run(
        **{"items": str(items), "output": str(page), "findings": str(findings)},
        **{"page": str(PAGE / "model.html.j2"), "style": str(PAGE / "style.css"), "title": "tiny: <mixed>"},
        **{"model": model, "model_id": "tiny", "task": "mixed"},
    )
    found = json.loads(findings.read_text())
    assert (found["family"], found["sees"], found["above"], found["prefix"]) == ("llava", "causal", 0, True)
    assert found["blocks"] == ["full"] * 3
    assert found["spans"][0]["image"] == "36 tokens"
    text = page.read_text()
    assert "<h1>tiny: &lt;mixed&gt;</h1>" in text
    assert re.search(r'<span class="span question">.*<span class="name">question</span>', text)
    assert re.search(r'title="[^"]*question[^"]*"', text)
    assert sum(map(int, re.findall(r"&lt;image&gt; × (\d+)", text))) > 30
    assert re.search(r"<td>&lt;image&gt; × \d+</td>", text), "what a span repeats is counted"
    assert "default-src 'none'" in text, "the page forbids itself every connection"
    assert "36 patches that image tokens stand for" in text
    encoded = re.search(r"base64,([^\"]+)", text)[1]
    assert max(Image.open(io.BytesIO(base64.b64decode(encoded))).size) == 512
