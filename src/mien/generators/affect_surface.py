"""What the affect engine precomputes of a head: what carries a photo, how landmarks pull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from mien.core.arrays import Bool, Double, Float, Int
from mien.morphable import landmarks as order
from mien.morphable.head import HeadModel
from mien.morphable.rasterise import Index
from mien.morphable.shade import vertex_normals
from mien.morphable.tissue import Tissue, tissues

_STIFFNESS = 1.0  # of the membrane added to the thin plate: influence dies away off the face
_TRUST = 1e5  # weight of a landmark against the plate
_BONE = 0.35  # how far from its edge the jaw bone holds the skin, in eye distances
_LID = 0.22  # how far from the eye's edge its lids reach, in eye distances
_FOREHEAD = 0.6  # height of the face above the brows, in eye distances


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A head as a carrier of photos.

    Attributes:
        head: the model.
        triangles: (F, 3) int32, the face's front, eyes and mouth; nothing of skull and neck.
        tissue: (F,) uint8 of those triangles, values of ``Tissue``.
        skin: (S,) the vertices of the skin among them.
        eyes: (E,) the vertices of the eyeballs.
        lids: (2, V) float32, how much of each eye's lids a vertex is, image left first.
        opening: height of the mean head's eyes, in eye distances.
        upper_teeth: (V,) float32, 1 on teeth and gums that hang from the skull, 0 elsewhere.
        jaw: (V,) float32, 1 on the edge of the jaw, 0 away from it.
        influence: (V, 68) float32; a landmark's pull on every vertex, smooth over the surface, so
            that upper and lower lip, though they touch, follow different landmarks.
        smoothing: (V, V) sparse, mean over the neighbours.
        neighbour_length: (V,) float32, mean length of the edges, in the head's units.
    """

    head: HeadModel
    triangles: Index
    tissue: NDArray[np.uint8]
    skin: Int
    eyes: Int
    lids: Float
    opening: float
    upper_teeth: Float
    jaw: Float
    influence: Float
    smoothing: csr_array
    neighbour_length: Float


def make_surface(head: HeadModel) -> Surface:
    """Precompute a head."""
    mean = head.shape(np.zeros(head.identity_size, np.float32)).astype(np.float64)
    everything = head.triangles
    tissue = tissues(head.parts, len(mean))
    kind = tissue[everything].max(axis=1)
    front = _front(mean, head)
    skin = (kind == Tissue.SKIN) & front[everything].all(axis=1)
    # Hair and glasses are left to the photo: they move with the skin under them.
    kept = skin | ((kind != Tissue.SKIN) & (kind != Tissue.WORN))
    edges = _edges(everything, len(mean))
    lengths = np.linalg.norm(mean[edges[:, 0]] - mean[edges[:, 1]], axis=1)
    ones = _symmetric(edges, np.ones(len(edges)), len(mean))
    degree = np.maximum(ones.sum(axis=1), 1.0)
    reach = _symmetric(edges, lengths, len(mean)).sum(axis=1) / degree
    return Surface(
        head=head,
        triangles=np.ascontiguousarray(everything[kept], np.int32),
        tissue=np.ascontiguousarray(kind[kept], np.uint8),
        skin=np.unique(everything[skin]).astype(np.int64),
        eyes=np.flatnonzero(tissue == Tissue.EYE),
        lids=_lids(mean, head, tissue),
        opening=float(eye_openings(mean[head.landmarks68, :2]).mean()),
        upper_teeth=_upper_teeth(mean, head, tissue, edges),
        jaw=_jaw_edge(mean, head),
        influence=_influence(mean / head.scale, everything, edges, head.landmarks68),
        smoothing=csr_array(diags_array(1.0 / degree) @ ones, dtype=np.float32),
        neighbour_length=reach.astype(np.float32),
    )


def _front(mean: Double, head: HeadModel) -> Bool:
    """Find the vertices of the face: within jaw and forehead, joined to the tip of the nose."""
    marks = mean[head.landmarks68]
    apart = order.inter_ocular(marks[:, :2])
    top = marks[order.LEFT_BROW, 1].max() + _FOREHEAD * apart
    angle = np.linspace(0.0, np.pi, 24)[1:-1]
    right, left = marks[16], marks[0]
    middle, half = (right[0] + left[0]) / 2, (right[0] - left[0]) / 2
    base = (right[1] + left[1]) / 2
    arc = np.stack([middle + half * np.cos(angle), base + (top - base) * np.sin(angle)], axis=1)
    outline = np.concatenate([marks[order.JAW, :2], arc])
    outline = outline - 0.01 * apart * _outward(outline)
    normals = vertex_normals(mean.astype(np.float32), head.triangles)
    inside = _in_polygon(mean[:, :2], outline) & (normals[:, 2] > -0.3)
    triangles = head.triangles[inside[head.triangles].all(axis=1)]
    joined = _symmetric(_edges(triangles, len(mean)), None, len(mean))
    _, component = connected_components(joined, directed=False)
    found: Bool = component == component[head.landmarks68[30]]
    return found


def eye_openings(points: Double) -> Double:
    """Return the mean heights of both eyes of 68 points, in eye distances; image left first."""
    heights = [
        np.linalg.norm(points[[o + 1, o + 2]] - points[[o + 5, o + 4]], axis=1).mean()
        for o in (order.LEFT_EYE.start, order.RIGHT_EYE.start)
    ]
    return np.array(heights) / order.inter_ocular(points)


def _lids(mean: Double, head: HeadModel, tissue: NDArray[np.uint8]) -> Float:
    marks = mean[head.landmarks68]
    apart = order.inter_ocular(marks[:, :2])
    weights = []
    for part in (order.LEFT_EYE, order.RIGHT_EYE):
        away = np.linalg.norm(mean[:, None] - marks[part], axis=2).min(axis=1)
        near = np.clip(1.0 - away / (_LID * apart), 0.0, 1.0)
        weights.append(np.where(tissue == Tissue.SKIN, near * near * (3.0 - 2.0 * near), 0.0))
    return np.stack(weights).astype(np.float32)


def _upper_teeth(mean: Double, head: HeadModel, tissue: NDArray[np.uint8], edges: Int) -> Float:
    """Find the teeth above the line of the lips, and the gums that hold them."""
    marks = mean[head.landmarks68]
    apart = order.inter_ocular(marks[:, :2])
    above = (mean[:, 1] - marks[[62, 66], 1].mean()) / (0.1 * apart)
    _, component = connected_components(_symmetric(edges, None, len(mean)), directed=False)
    on_skin = np.isin(component, np.unique(component[tissue == Tissue.SKIN]))
    count = np.bincount(component)
    middle = (np.bincount(component, above) / np.maximum(count, 1))[component]
    gums = np.where((tissue == Tissue.MOUTH) & ~on_skin, np.clip(above, 0.0, 1.0), 0.0)
    hanging: Float = np.where(tissue == Tissue.TEETH, middle > 0.0, gums).astype(np.float32)
    return hanging


def _jaw_edge(mean: Double, head: HeadModel) -> Float:
    """Return (V,) how much of the jaw's edge a vertex is; skin moves over the bone, not it."""
    marks = mean[head.landmarks68]
    line = marks[4:13]
    fine = np.concatenate([line[:-1] + t * np.diff(line, axis=0) for t in (0.0, 0.25, 0.5, 0.75)])
    away = np.full(len(mean), np.inf)
    for point in fine:
        away = np.minimum(away, np.linalg.norm(mean - point, axis=1))
    near = np.clip(1.0 - away / (_BONE * order.inter_ocular(marks[:, :2])), 0.0, 1.0)
    edge: Float = (near * near * (3.0 - 2.0 * near)).astype(np.float32)
    return edge


def _outward(outline: Double) -> Double:
    step = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    normal = np.stack([step[:, 1], -step[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    away = outline - outline.mean(axis=0)
    signed: Double = normal * np.sign((normal * away).sum(axis=1, keepdims=True))
    return signed


def _in_polygon(points: Double, polygon: Double) -> Bool:
    following = np.roll(polygon, -1, axis=0)
    y = points[:, None, 1]
    straddles = (polygon[:, 1] > y) != (following[:, 1] > y)
    rise = np.where(following[:, 1] == polygon[:, 1], 1.0, following[:, 1] - polygon[:, 1])
    crossing = polygon[:, 0] + (y - polygon[:, 1]) / rise * (following - polygon)[:, 0]
    inside: Bool = (straddles & (points[:, None, 0] < crossing)).sum(axis=1) % 2 == 1
    return inside


def _edges(triangles: Index, vertices: int) -> Int:
    """Return the distinct undirected edges, (E, 2)."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.sort(pairs.astype(np.int64), axis=1)
    codes = np.unique(pairs[:, 0] * vertices + pairs[:, 1])
    return np.stack([codes // vertices, codes % vertices], axis=1)


def _symmetric(edges: Int, values: Double | None, size: int) -> csr_array:
    weights = np.ones(len(edges)) if values is None else values
    rows = np.concatenate([edges[:, 0], edges[:, 1]])
    columns = np.concatenate([edges[:, 1], edges[:, 0]])
    return csr_array((np.concatenate([weights, weights]), (rows, columns)), shape=(size, size))


def _influence(points: Double, triangles: Index, edges: Int, landmarks: Int) -> Float:
    """Interpolate landmark moves over the surface by a thin plate with a little membrane.

    Pieces without landmarks (eyeballs, teeth) move as a whole with the landmarks next to them.

    Source: Botsch, Kobbelt, An intuitive framework for real-time freeform modeling (SIGGRAPH
        2004), §3, with edge weights 1/length and soft constraints.
    """
    size = len(points)
    lengths = np.maximum(np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1), 1e-4)
    joined = _symmetric(edges, 1.0 / lengths, size)
    laplacian = diags_array(joined.sum(axis=1)) - joined
    mass = _areas(points, triangles)
    _, component = connected_components(joined, directed=False)
    influence = np.zeros((size, len(landmarks)), np.float32)
    for piece in np.unique(component):
        own = np.flatnonzero(component == piece)
        held = np.flatnonzero(np.isin(landmarks, own))
        if len(held) < 3:
            centre = points[own].mean(axis=0)
            near = np.linalg.norm((points[landmarks] - centre)[:, :2], axis=1).argsort()[:6]
            influence[np.ix_(own, near)] = 1.0 / len(near)
            continue
        rows = np.searchsorted(own, landmarks[held])
        part = laplacian[own][:, own]
        plate = part @ diags_array(1.0 / np.maximum(mass[own], 1e-7)) @ part
        pins = csr_array((np.ones(len(held)), (rows, rows)), shape=(len(own), len(own)))
        system = plate * 1e-4 + _STIFFNESS * part + _TRUST * pins + 1e-9 * eye_array(len(own))
        right = np.zeros((len(own), len(held)))
        np.add.at(right, (rows, np.arange(len(held))), _TRUST)
        influence[np.ix_(own, held)] = splu(system.tocsc()).solve(right)
    return influence


def _areas(points: Double, triangles: Index) -> Double:
    corners = points[triangles]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    shares = np.bincount(triangles.ravel(), np.repeat(area / 6.0, 3), len(points))
    return shares.astype(np.float64)
