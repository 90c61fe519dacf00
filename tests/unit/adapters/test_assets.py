"""Pulling assets: small stand-ins of the upstream trees behind a real local server."""

import functools
import hashlib
import json
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from mien.adapters.assets.assets import base_url, damage, lock_file, pull
from mien.adapters.assets.convert import ICT_EXPRESSIONS, LONDON_POINTS, ict_paths
from mien.adapters.assets.table import ASSETS, YUNET_FILE, asset_named
from mien.core.errors import Corrupt, Interrupted, NotFound
from mien.core.hooks import never_cancelled, no_progress

VERTICES, MODES = 70, 100


@pytest.fixture
def tree(tmp_path):
    """A folder that is served, and the addresses asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    folder = tmp_path / "tree"
    folder.mkdir()
    handler = functools.partial(Handler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def upstream_folder(tree, asset):
    folder = tree[0] / asset.repository / asset.commit
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def get(tree, asset, home, **hooks):
    hooks = {"progress": no_progress, "cancelled": never_cancelled, **hooks}
    return pull(asset, home, mirror=tree[1], **hooks)


def obj(vertices, faces=""):
    return "# made here\n" + "".join("v {} {} {}\n".format(*v) for v in vertices) + faces


@pytest.fixture
def ict(tree):
    """A head of 70 vertices with all its shapes."""
    asset = asset_named("ict")
    folder = upstream_folder(tree, asset)
    (folder / "LICENSE").write_text("MIT")
    (folder / "FaceXModel").mkdir()
    rng = np.random.default_rng(0)
    shapes = {name: rng.normal(size=(VERTICES, 3)) for name in ict_paths() if "neutral" not in name}
    neutral = rng.normal(size=(VERTICES, 3)) * 10
    faces = "vt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\nf 1/1 2/2 3/3 4/1\nf 2/2/1 3/3/1 4/1/1 5/2/1\n"
    (folder / "FaceXModel/generic_neutral_mesh.obj").write_text(obj(neutral, faces))
    marks = list(range(68))
    (folder / "FaceXModel/vertex_indices.json").write_text(
        json.dumps({"idx_to_landmark_verts": marks})
    )
    for name, offset in shapes.items():
        if name.endswith(".obj"):
            (folder / name).write_text(obj(neutral + offset))
    return asset, folder, neutral, shapes


@pytest.fixture
def london(tree):
    """Two people at 100 px."""
    asset = asset_named("london")
    folder = upstream_folder(tree, asset)
    for name in ("inst/neutral_front", "inst/smiling_front", "data-raw"):
        (folder / name).mkdir(parents=True)
    (folder / "LICENSE.md").write_text("CC BY 4.0")
    info = "face_id,face_age,face_gender,face_eth\n001,24,female,white\n030,NA,male,black\n"
    (folder / "data-raw/london_info.csv").write_text(info)
    points = "".join(f"{i}\t{2 * i}\n" for i in range(LONDON_POINTS))
    for person in ("001", "030"):
        photo = np.full((1350, 1350, 3), 90, np.uint8)
        cv2.circle(photo, (600, 400), 60, (0, 0, 255), -1)
        for name in (f"inst/neutral_front/{person}_03", f"inst/smiling_front/{person}_08"):
            cv2.imwrite(str(folder / f"{name}.jpg"), photo)
        tem = folder / f"inst/neutral_front/{person}_03.tem"
        tem.write_text(f"{LONDON_POINTS}\n{points}2\n0\n3\n0 1 2\n")
    return asset, folder


@pytest.fixture
def yunet(tree):
    """Other bytes under the detector's name, and their digest."""
    folder = upstream_folder(tree, asset_named("yunet"))
    (folder / "onnx").mkdir()
    (folder / "LICENSE").write_text("Apache")
    (folder / YUNET_FILE).write_bytes(b"network")
    digest = hashlib.sha256(b"network").hexdigest()
    return replace(asset_named("yunet"), sha256={YUNET_FILE: digest}), folder


def test_the_head_is_converted(tree, ict, tmp_path):
    """All shapes come back within half a quantisation step; faces, uv and landmarks as given."""
    asset, _, neutral, shapes = ict
    events = []
    folder = get(tree, asset, tmp_path / "home", progress=events.append)
    with np.load(folder / "ict_facekit.npz", allow_pickle=False) as head:
        assert head["identity"].shape == (MODES, VERTICES, 3)
        assert head["identity"].dtype == np.int16
        assert head["expression_names"].tolist() == list(ICT_EXPRESSIONS)
        np.testing.assert_allclose(head["neutral"], neutral, rtol=1e-6)
        back = head["identity"] * head["identity_scale"]
        given = np.stack([shapes[f"FaceXModel/identity{i:03}.obj"] for i in range(MODES)])
        assert np.abs(back - given).max() <= head["identity_scale"].max() * 0.51
        back = head["expression"] * head["expression_scale"]
        given = np.stack([shapes[f"FaceXModel/{name}.obj"] for name in ICT_EXPRESSIONS])
        assert np.abs(back - given).max() <= head["expression_scale"].max() * 0.51
        assert head["tris"].tolist() == [[0, 1, 2]]
        assert head["quads"].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
        assert head["quad_uv"].tolist() == [[0, 1, 2, 0], [1, 2, 0, 1]]
        assert head["landmarks68"].tolist() == list(range(68))
    assert (folder / "LICENSE").read_text() == "MIT"
    assert (events[-1].done, events[-1].total) == (160, 160)
    assert {p.name for p in (tmp_path / "home").iterdir()} == {"ict_facekit", "ict.lock.json"}


def test_the_photographs_are_converted(tree, london, tmp_path):
    """675 px photos, landmarks in their pixels, everybody's table."""
    asset, folder = london
    made = get(tree, asset, tmp_path / "home")
    assert cv2.imread(str(made / "smiling/030_08.jpg")).shape == (675, 675, 3)
    photo = cv2.imread(str(made / "neutral/001_03.jpg"))
    assert photo[200, 300, 2] > 240  # the red disc, at half its place
    landmarks = json.loads((made / "landmarks.json").read_text())
    assert set(landmarks) == {"neutral/001_03.jpg", "neutral/030_03.jpg"}
    assert landmarks["neutral/001_03.jpg"][:3] == [[0, 0], [0.5, 1], [1, 2]]
    assert len(landmarks["neutral/001_03.jpg"]) == LONDON_POINTS
    info = folder / "data-raw/london_info.csv"
    assert (made / "info.csv").read_text() == info.read_text()


def test_a_present_asset_is_left_alone(tree, yunet, tmp_path):
    """Pulling twice asks the upstream once."""
    asset, _ = yunet
    get(tree, asset, tmp_path / "home")
    before = len(tree[2])
    get(tree, asset, tmp_path / "home")
    assert len(tree[2]) == before
    assert asset.present(tmp_path / "home")


def test_a_wrong_digest_makes_nothing(tree, yunet, tmp_path):
    """The detector's digest is known beforehand: other bytes are refused."""
    with pytest.raises(Corrupt) as caught:
        get(tree, asset_named("yunet"), tmp_path / "home")
    assert caught.value.reason == "DOWNLOAD_DIGEST"
    assert not (tmp_path / "home" / "yunet").exists()


def test_a_missing_file_makes_nothing_and_a_later_pull_goes_on(tree, london, tmp_path):
    """404 in the middle: no half asset; what had arrived is not fetched again."""
    asset, folder = london
    photo = folder / "inst/smiling_front/030_08.jpg"
    kept = photo.read_bytes()
    photo.unlink()
    with pytest.raises(NotFound) as caught:
        get(tree, asset, tmp_path / "home")
    assert "030_08.jpg" in caught.value.message
    assert not (tmp_path / "home" / "london").exists()
    photo.write_bytes(kept)
    tree[2].clear()
    get(tree, asset, tmp_path / "home")
    assert [p for p in tree[2] if p.endswith("london_info.csv")] == []


def test_interrupted_pulls_go_on(tree, ict, tmp_path):
    """Ctrl-C among many files: no half asset; the second pull finishes it."""
    asset = ict[0]
    calls = iter(range(10_000))
    with pytest.raises(Interrupted):
        get(tree, asset, tmp_path / "home", cancelled=lambda: next(calls) > 40)
    assert not (tmp_path / "home" / "ict_facekit").exists()
    fetched = len(tree[2])
    get(tree, asset, tmp_path / "home")
    assert len(tree[2]) - fetched < 160


@pytest.mark.parametrize("evil", ["../../evil", "/etc/passwd", "..%2f", "1234", ""])
def test_names_from_upstream_lead_nowhere_else(tree, london, tmp_path, evil):
    """A face id that is not three digits would become a path: refused, nothing is written."""
    asset, folder = london
    (folder / "data-raw/london_info.csv").write_text(f"face_id,face_age\n{evil},3\n")
    with pytest.raises(Corrupt) as caught:
        get(tree, asset, tmp_path / "home")
    assert caught.value.reason == "ASSET_CONTENT"
    assert not (tmp_path / "home" / "london").exists()
    assert not list(tmp_path.glob("**/evil*"))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("FaceXModel/identity007.obj", "v 1 2 3\n"),
        ("FaceXModel/identity007.obj", "v one two three\n"),
        ("FaceXModel/generic_neutral_mesh.obj", ""),
        ("FaceXModel/vertex_indices.json", "{}"),
        ("FaceXModel/vertex_indices.json", '{"idx_to_landmark_verts": [99999]}'),
    ],
)
def test_a_broken_head_is_refused(tree, ict, tmp_path, file, content):
    """A mesh that cannot be read or has other vertices is named."""
    asset, folder, *_ = ict
    (folder / file).write_text(content)
    with pytest.raises(Corrupt) as caught:
        get(tree, asset, tmp_path / "home")
    assert file.rpartition("/")[2] in caught.value.message
    assert not (tmp_path / "home" / "ict_facekit").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("inst/neutral_front/001_03.jpg", "no picture"),
        ("inst/neutral_front/001_03.tem", "189\n1 2\n"),
        ("inst/neutral_front/001_03.tem", "many\n"),
    ],
)
def test_broken_photographs_are_refused(tree, london, tmp_path, file, content):
    """A photo or template that cannot be read is named; once mended upstream it is taken."""
    asset, folder = london
    good = (folder / file).read_bytes()
    (folder / file).write_text(content)
    with pytest.raises(Corrupt) as caught:
        get(tree, asset, tmp_path / "home")
    assert file.rpartition("/")[2] in caught.value.message
    (folder / file).write_bytes(good)
    assert asset.present(get(tree, asset, tmp_path / "home").parent)


def test_what_was_first_received_is_demanded_ever_after(tree, london, tmp_path):
    """No digest is known beforehand: the first one is recorded, another is refused later."""
    asset, folder = london
    home = tmp_path / "home"
    made = get(tree, asset, home)
    lock = json.loads(lock_file(asset, home).read_text())
    tem = "inst/neutral_front/001_03.tem"
    assert lock["received"][tem] == hashlib.sha256((folder / tem).read_bytes()).hexdigest()
    for file in sorted(made.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (folder / tem).write_text((folder / tem).read_text() + "\n")
    with pytest.raises(Corrupt) as caught:
        get(tree, asset, home)
    assert caught.value.reason == "DOWNLOAD_DIGEST"


def test_damage_is_found(tree, london, tmp_path):
    """A file that changed after the pull is named; an asset without record is not judged."""
    asset, _ = london
    home = tmp_path / "home"
    made = get(tree, asset, home)
    assert damage(asset, home) == []
    (made / "landmarks.json").write_text("{}")
    assert damage(asset, home) == ["landmarks.json"]
    lock_file(asset, home).unlink()
    assert damage(asset, home) == []


def test_the_detector_is_always_checked(tree, yunet, tmp_path):
    """Its digest is known, so it needs no record."""
    asset, _ = yunet
    made = get(tree, asset, tmp_path / "home")
    lock_file(asset, tmp_path / "home").unlink()
    assert damage(asset, tmp_path / "home") == []
    (made / asset.files[0]).write_bytes(b"other")
    assert damage(asset, tmp_path / "home") == [asset.files[0]]


def test_addresses():
    """Upstream raw files by commit; a mirror keeps owner, name and commit."""
    ict_asset, yunet_asset, _ = ASSETS
    assert base_url(ict_asset, "").endswith(f"/{ict_asset.repository}/{ict_asset.commit}")
    assert "/raw/" in base_url(yunet_asset, "")
    mirror = base_url(ict_asset, "http://mirror/x")
    assert mirror == f"http://mirror/x/{ict_asset.repository}/{ict_asset.commit}"


def test_unknown_assets_are_named():
    """A typo lists what there is."""
    with pytest.raises(NotFound) as caught:
        asset_named("londno")
    assert "london" in caught.value.hint
