"""BiCoR-Seg written down literally from its equations, as an oracle: slow, and large in memory.

Takes the weights of a model, shares none of its computation. Feature maps are (B, C, h, w).
"""

import torch
import torch.nn.functional as F


def aggregation(module, stages):
    """Project each stage, resize, concatenate with the last first, mix by a 1 x 1 convolution."""
    size = stages[0].shape[2:]
    maps = [
        F.interpolate(
            project(stage.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
            size=size,
            mode="bilinear",
            align_corners=False,
        )
        for stage, project in zip(stages, module.project, strict=True)
    ]
    return F.conv2d(torch.cat(maps[::-1], dim=1), module.mix.weight[:, :, None, None])


def selected(heat, spec):
    """The set Omega of equation 2 for one class of one image: a mask over its S heatmap values."""
    count = len(heat)
    if spec.pooling == "topk":
        keep = min(count, max(spec.min_pixels, round(spec.topk_ratio * count)))
        return heat >= heat.sort(descending=True).values[keep - 1]
    if spec.pooling == "threshold":
        return heat >= spec.threshold
    if spec.pooling == "percentile":
        return heat >= heat.quantile(spec.percentile)
    return torch.ones_like(heat, dtype=torch.bool)


def weights(heat, spec):
    """Equation 2 with the fallback of the published code, for one class of one image."""
    kept = heat * selected(heat, spec)
    if kept.sum() <= 1e-6:
        return heat / (heat.sum() + 1e-6)
    return kept / (kept.sum() + 1e-6)


def step(layer, classes, features):
    """One pass of an HBIS layer: classes (B, N, Cd), features (B, Cf, h, w) -> both updated, logits."""
    spec = layer.spec
    normed_classes = normed_features = None
    if layer.class_norm is not None:
        normed_classes = layer.class_norm(classes)
    if layer.pixel_norm is not None:
        normed_features = layer.pixel_norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    if spec.heatmap_inputs == "normalized":
        score = torch.einsum("bnc,bchw->bnhw", layer.query(normed_classes), normed_features)
        score = score / features.shape[1] ** 0.5
    else:
        score = torch.einsum("bnc,bchw->bnhw", layer.query(classes), features)
    heat = score.sigmoid()
    with torch.no_grad():
        pooling = torch.stack([torch.stack([weights(h.flatten(), spec) for h in image]) for image in heat])
    pooled = normed_features if spec.pooled_inputs == "normalized" else features
    values = F.conv2d(pooled, layer.value.weight[:, :, None, None])
    context = torch.einsum("bns,bcs->bnc", pooling, values.flatten(2))
    gate_classes = normed_classes if spec.gate == "channel" else classes
    gate = layer.gate(torch.cat([gate_classes, context], dim=2)).sigmoid()
    classes = (1 - gate) * classes + gate * layer.candidate(context)
    gamma = 1 + layer.gamma(classes).tanh()
    beta = layer.beta(classes)
    modulated = gamma[..., None, None] * features[:, None] + beta[..., None, None]
    assigned = (score / spec.temperature if spec.assignment == "scores" else heat).softmax(dim=1)
    mixed = (assigned[:, :, None] * modulated).sum(dim=1)
    alpha = 1 - layer.film_weight
    return classes, alpha * features + (1 - alpha) * mixed, score / spec.temperature


def hbis(layer, classes, features):
    """All inner steps of a layer."""
    for _ in range(layer.spec.inner_steps):
        classes, features, logits = step(layer, classes, features)
    return classes, features, logits


def head(module, classes, features):
    """The published output head."""
    x = F.pixel_shuffle(features, 2)
    x = F.gelu(F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], module.norm.weight, module.norm.bias, 1e-6))
    x = F.gelu(F.pixel_shuffle(x.permute(0, 3, 1, 2), 2))
    return torch.einsum("bnc,bchw->bnhw", module.classifier(classes), x)


def logits(model, images):
    """The whole published network in evaluation, for sides that are multiples of 32."""
    x = (images - model.pixel_mean) / model.pixel_std
    stages = []
    for index, part in enumerate(model.convnext.features):
        x = part(x)
        if index % 2:
            stages.append(x)
    features = aggregation(model.aggregation, stages)
    classes = model.decoder.class_embeddings.expand(len(images), -1, -1)
    for layer in model.decoder.layers:
        classes, features, _ = hbis(layer, classes, features)
    return head(model.decoder.head, classes, features)
