"""The fusion of FCtL written a second time from the paper's equations: numpy, float64, loops over pairs.

Works on the state dict of a model by its names and on feature maps (C, H, W) of one patch.
"""

import numpy as np


def softmax(a, axis):
    a = np.exp(a - a.max(axis=axis, keepdims=True))
    return a / a.sum(axis=axis, keepdims=True)


def sigmoid(a):
    return 1 / (1 + np.exp(-np.asarray(a)))


def conv(x, state, name):
    weight = state[f"{name}.weight"][:, :, 0, 0]
    out = np.tensordot(weight, x, axes=1)
    bias = state.get(f"{name}.bias")
    return out if bias is None else out + bias[:, None, None]


def place(cell, start, length, side, stride, offset):
    """Where cell of a context lies, in cells of the patch: through pixels, one number at a time."""
    pixel_in_context = (stride * cell + offset) / side * length  # in patch sides
    return ((start + pixel_in_context) * side - offset) / stride


def relevance(state, name, local, context, window, spec, grid):
    """M of equations 1 and 2, (H * W, H * W)."""
    side, stride, offset = grid
    _, height, width = local.shape
    query = conv(local, state, f"{name}.query").reshape(len(local), -1)
    key = conv(context, state, f"{name}.key").reshape(len(local), -1)
    if spec.branch == "deepglobe":
        query = query - query.mean(axis=1, keepdims=True)
        key = key - key.mean(axis=1, keepdims=True)
    content = softmax(spec.qk_scale * query.T @ key, axis=1)
    if not spec.gpe:
        return content
    cells = [(y, x) for y in range(height) for x in range(width)]
    r = np.zeros((len(cells), len(cells), 3))
    for a, (qy, qx) in enumerate(cells):
        for b, (ky, kx) in enumerate(cells):
            if spec.geometry == "image":
                ky = place(ky, window[0], window[2], side[0], stride, offset)
                kx = place(kx, window[1], window[3], side[1], stride, offset)
            r[a, b] = kx - qx, ky - qy, (kx - qx) ** 2 + (ky - qy) ** 2
    gate = sigmoid(state[f"{name}.position.gate"])
    mixed = gate * content + (1 - gate) * softmax(r @ state[f"{name}.position.weight"], axis=1)
    return mixed / mixed.sum(axis=1, keepdims=True)


def fused(state, features, windows, spec, grid):
    """LCF (equation 5)."""
    local, seen = features["local"], {}
    for term in spec.terms:
        name = f"fusion.correlate.{term}"
        value = conv(features[term], state, f"{name}.value").reshape(len(local), -1)
        matrix = relevance(state, name, local, features[term], windows[term], spec, grid)
        seen[term] = state[f"{name}.gamma"] * (value @ matrix.T).reshape(local.shape)
    if len(seen) == 1:
        return seen[spec.terms[0]]
    weights = fusion_weights(state, seen, spec)
    return sum(w * x for w, x in zip(weights, seen.values(), strict=True))


def fusion_weights(state, seen, spec):
    count, name = len(seen), "fusion.weigh"
    width = len(next(iter(seen.values())))
    if spec.mcf == "average":
        return [1 / count] * count
    if spec.mcf == "weighted":
        return list(softmax(state[f"{name}.scores"], axis=0))
    if spec.mcf == "squeeze":
        squeezed = conv(np.concatenate(list(seen.values())), state, f"{name}.squeeze")
        expanded = conv(squeezed, state, f"{name}.expand")
        scores = expanded.reshape(count, width, *expanded.shape[1:])
    else:
        entered = np.concatenate([conv(x, state, f"{name}.enter.{term}") for term, x in seen.items()])
        mixed = conv(entered, state, f"{name}.mix")
        parts = [mixed[i * width : (i + 1) * width] for i in range(count)]
        scores = np.stack(
            [
                sigmoid(conv(part, state, f"{name}.leave.{term}"))
                for term, part in zip(seen, parts, strict=True)
            ]
        )
    return list(softmax(scores, axis=0))


def crop(context, window, grid):
    """The context on the patch's grid: bilinear, cell by cell, clamped at the border."""
    side, stride, offset = grid
    _, height, width = context.shape
    out = np.zeros_like(context)
    for i in range(height):
        for j in range(width):
            corners = []
            for cell, start, length, extent, cells in (
                (i, window[0], window[2], side[0], height),
                (j, window[1], window[3], side[1], width),
            ):
                in_patch_sides = (stride * cell + offset) / extent
                pixel = (in_patch_sides - start) / length * extent
                position = min(max((pixel - offset) / stride, 0), cells - 1)
                first = min(int(np.floor(position)), cells - 1)
                second = min(first + 1, cells - 1)
                corners.append((first, second, position - first))
            (top, bottom, down), (left, right, across) = corners
            upper = context[:, top, left] * (1 - across) + context[:, top, right] * across
            lower = context[:, bottom, left] * (1 - across) + context[:, bottom, right] * across
            out[:, i, j] = upper * (1 - down) + lower * down
    return out


def shares(total, parts):
    return [total // parts + (1 if i < total % parts else 0) for i in range(parts)]


def interaction(state, name, target, references, spec):
    """LFI, equations 6 and 7."""
    channels, height, width = target.shape
    tokens = np.concatenate([conv(x, state, f"{name}.references.{i}") for i, x in enumerate(references)])
    attention, start = np.zeros_like(target), 0
    for group, (side, count) in enumerate(
        zip(spec.ale_windows, shares(channels, len(spec.ale_windows)), strict=True)
    ):
        kernel, bias = (state[f"{name}.windows.{group}.{part}"] for part in ("weight", "bias"))
        reach = side // 2
        for c in range(count):
            for y in range(height):
                for x in range(width):
                    value = bias[c]
                    for dy in range(side):
                        for dx in range(side):
                            row, column = y + dy - reach, x + dx - reach
                            if 0 <= row < height and 0 <= column < width:
                                value += kernel[c, 0, dy, dx] * tokens[start + c, row, column]
                    attention[start + c, y, x] = value
        start += count
    attention = {"none": lambda a: a, "sigmoid": sigmoid, "tanh": np.tanh}[spec.ale_activation](attention)
    return target + attention * conv(target, state, f"{name}.target")


def enhanced(state, features, windows, spec, grid):
    """ALE, algorithm 1 and figure 13."""
    local = features["local"]
    crops = [crop(features[name], windows[name], grid) for name in spec.enhanced]
    if spec.ale == "concat":
        return conv(np.concatenate([local, *crops]), state, "enhancement.join")

    def f(name, target, *references):
        return interaction(state, f"enhancement.{name}", target, references, spec)

    if spec.ale in "ab":
        (u,) = crops
        if spec.ale == "a":
            out = f("last", local, u)
        else:
            out = f("last", f("rounds.0.0", local, u), f("rounds.0.1", u, local))
    else:
        i, m, large = local, *crops
        for number in range({"c": 0, "d": 1, "e": 2}[spec.ale]):
            i, m, large = (
                f(f"rounds.{number}.0", i, m, large),
                f(f"rounds.{number}.1", m, i, large),
                f(f"rounds.{number}.2", large, i, m),
            )
        out = f("last", i, m, large)
    return out - local if spec.ale_residual == "delta" else out


def full_sum(state, features, windows, spec, grid):
    """F = X_I + LCF + ALE (section 3.5)."""
    total = features["local"]
    if spec.lcf:
        total = total + fused(state, features, windows, spec, grid)
    if spec.ale != "none":
        total = total + enhanced(state, features, windows, spec, grid)
    return total
