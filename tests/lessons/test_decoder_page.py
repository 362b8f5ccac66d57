"""The page that lesson 1 writes draws, in a real browser, what tinyae draws."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from processes import LESSON_1, run

from tinyae import AnelloAutoencoder, checkpoint

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCRIPT = """<pre></pre><script>
find("pre")[0].textContent = JSON.stringify(CODES.map((code) => [...decode(code)]));
</script>"""


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_the_page_draws_what_the_decoder_draws(tmp_path):
    run(tmp_path, "--epochs", 1, program=LESSON_1)
    page = (tmp_path / "four_numbers.html").read_text("utf-8")
    assert not re.search(r"https?:|\b(src|href)=", page)

    model = AnelloAutoencoder(4)
    (file,) = tmp_path.glob("trainings/Normal-" + 32 * "[0-9a-f]" + ".checkpoint")
    saved = checkpoint.load(file)
    names = {f"model.{name}": name for name in model.state_dict()}
    model.load_state_dict({name: saved[key] for key, name in names.items()})
    codes = np.random.default_rng(0).normal(0, 3, (20, 4)).astype("float32")
    expected = model.eval().decode(codes).reshape(20, 784)

    with_codes = tmp_path / "with_codes.html"
    script = SCRIPT.replace("CODES", json.dumps(codes.tolist()))
    with_codes.write_text(page + script, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--dump-dom"]
    done = subprocess.run([*command, with_codes.as_uri()], capture_output=True)
    drawn = json.loads(re.search(rb"<pre>(.*)</pre>", done.stdout)[1])
    np.testing.assert_allclose(drawn, expected, 0, 1e-4)
