"""The functions of `keras.ops` for networks, images, signals and linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from simulators.sweep.case import Case, Table


def _k(*shape: int) -> Any:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def _w(call: Any, given: str, limit: float = 1e-5, **more: Any) -> Case:
    return Case(call, given, whole=True, limit=limit, **more)


_SIZES = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos3": "lanczos3",
    "lanczos5": "lanczos5",
}

NETWORKS: Table = {
    "average_pool": _w(lambda x: ops.average_pool(x, 2, 2), "image"),
    "average_pool: 1": _w(lambda x: ops.average_pool(x, 3, 1, "same"), "sequence"),
    "average_pool: 3": _w(lambda x: ops.average_pool(x, 2, 1, "same"), "volume"),
    "max_pool": _w(lambda x: ops.max_pool(x, 2, 2), "image"),
    "max_pool: 1": _w(lambda x: ops.max_pool(x, 3, 1, "same"), "sequence"),
    "max_pool: 3": _w(lambda x: ops.max_pool(x, 2, 1, "same"), "volume"),
    "adaptive_average_pool": _w(lambda x: ops.adaptive_average_pool(x, 3), "image"),
    "adaptive_max_pool": _w(lambda x: ops.adaptive_max_pool(x, 3), "image"),
    "adaptive_average_pool: 1": _w(lambda x: ops.adaptive_average_pool(x, 3), "sequence"),
    "adaptive_max_pool: 3": _w(lambda x: ops.adaptive_max_pool(x, 4), "volume"),
    "batch_normalization": _w(lambda x: ops.batch_normalization(x, _k(3), abs(_k(3)), -1, _k(3), _k(3)), "image"),
    "layer_normalization": _w(lambda x: ops.layer_normalization(x, _k(6), _k(6)), "random rows", limit=1e-4),
    "rms_normalization": _w(lambda x: ops.rms_normalization(x, _k(6)), "rows"),
    "normalize": _w(lambda x: ops.normalize(x, axis=-1), "rows", jumps=True),
    "normalize: 1": _w(lambda x: ops.normalize(x, axis=-1, order=1), "rows", jumps=True),
    "conv": _w(lambda x: ops.conv(x, _k(3, 3, 3, 4), 2, "same"), "image"),
    "conv: 1": _w(lambda x: ops.conv(x, _k(3, 4, 5), 1, "same", dilation_rate=2), "sequence"),
    "conv: 3": _w(lambda x: ops.conv(x, _k(3, 3, 3, 2, 4), 1, "valid"), "volume"),
    "conv: 3 dilated": _w(lambda x: ops.conv(x, _k(2, 2, 2, 2, 4), 1, "same", dilation_rate=2), "volume"),
    "conv: groups": _w(lambda x: ops.conv(x, _k(3, 2, 6), 1, "same"), "sequence"),
    "conv_transpose": _w(lambda x: ops.conv_transpose(x, _k(3, 3, 4, 3), 2, "same"), "image"),
    "conv_transpose: output padding": _w(
        lambda x: ops.conv_transpose(x, _k(5, 5, 4, 3), 2, "valid", output_padding=1), "image"
    ),
    "conv_transpose: dilated": _w(lambda x: ops.conv_transpose(x, _k(3, 3, 4, 3), 1, "same", dilation_rate=2), "image"),
    "conv_transpose: gaps": _w(lambda x: ops.conv_transpose(x, _k(2, 2, 4, 3), 3, "valid"), "image"),
    "conv_transpose: 1": _w(lambda x: ops.conv_transpose(x, _k(3, 5, 4), 2, "same"), "sequence"),
    "conv_transpose: 3": _w(lambda x: ops.conv_transpose(x, _k(3, 3, 3, 5, 2), 2, "same"), "volume"),
    "depthwise_conv": _w(lambda x: ops.depthwise_conv(x, _k(3, 3, 3, 2), 1, "same"), "image"),
    "depthwise_conv: 1": _w(lambda x: ops.depthwise_conv(x, _k(3, 4, 2), 2, "valid"), "sequence"),
    "separable_conv": _w(lambda x: ops.separable_conv(x, _k(3, 3, 3, 2), _k(1, 1, 6, 4), 1, "same"), "image"),
    "separable_conv: dilated": _w(
        lambda x: ops.separable_conv(x, _k(3, 3, 3, 2), _k(1, 1, 6, 4), 1, "same", dilation_rate=2), "image"
    ),
    "dot_product_attention": _w(
        lambda q, k, v: ops.dot_product_attention(*(ops.reshape(t, (-1, 2, 6, 8)) for t in (q, k, v))),
        "three",
        limit=1e-4,
    ),
    "dot_product_attention: causal": _w(
        lambda q, k, v: ops.dot_product_attention(*(ops.reshape(t, (-1, 6, 2, 8)) for t in (q, k, v)), is_causal=True),
        "three",
        limit=1e-4,
    ),
    "softmax": _w(ops.softmax, "rows"),
    "softmax: axis": _w(lambda x: ops.softmax(x, axis=1), "rows"),
    "log_softmax": _w(ops.log_softmax, "rows"),
    "sparsemax": _w(ops.sparsemax, "rows"),
    "glu": _w(ops.glu, "rows"),
    "depth_to_space": _w(lambda x: ops.depth_to_space(ops.concatenate([x] * 4, -1), 2), "image"),
    "space_to_depth": _w(lambda x: ops.space_to_depth(x, 2), "image"),
    "fold": _w(
        lambda x: ops.fold(ops.transpose(ops.reshape(x, (-1, 16, 12)), (0, 2, 1)), (8, 8), 2, stride=2), "image"
    ),
    "unfold": _w(lambda x: ops.unfold(ops.transpose(x, (0, 3, 1, 2)), 2, stride=2), "image", fixed=True),
    "binary_crossentropy": _w(lambda x, y: ops.binary_crossentropy(y, x), "probabilities"),
    "binary_crossentropy: logits": _w(lambda x, y: ops.binary_crossentropy(ops.sigmoid(y), x, from_logits=True), "xy"),
    "categorical_crossentropy": _w(lambda x, y: ops.categorical_crossentropy(y, x), "probabilities", jumps=True),
    "sparse_categorical_crossentropy": _w(
        lambda x, _: ops.sparse_categorical_crossentropy(ops.convert_to_tensor([2]), x), "probabilities"
    ),
    "custom_gradient": _w(lambda x: ops.custom_gradient(lambda t: (t * 2, lambda g: g))(x + 0), "rows"),
    "psnr": _w(lambda x, y: ops.psnr(x, y, 1.0)[None], "two images"),
}

LINEAR: Table = {
    "matmul": _w(lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))), "two rows"),
    "matmul: constant": _w(lambda x: ops.matmul(x, _k(6, 3)), "rows"),
    "matmul: int32": Case(
        lambda x: ops.matmul(ops.clip(x, -60, 60), ops.transpose(ops.clip(x, -60, 60), (0, 2, 1))), "int32 rows"
    ),
    "dot": _w(lambda x: ops.dot(x, _k(6, 3)), "rows"),
    "einsum": _w(lambda x, y: ops.einsum("bij,bkj->bik", x, y), "two rows"),
    "outer": _w(lambda x: ops.outer(x[0], x[0])[None], "vector"),
    "tensordot": _w(lambda x: ops.tensordot(x, _k(6, 3), axes=1), "rows"),
    "vdot": _w(lambda x: ops.vdot(x[0], x[0])[None], "vector"),
    "cross": _w(ops.cross, "vectors"),
    "correlate": _w(lambda x: ops.correlate(x[0], _k(3), mode="same")[None], "vector"),
    "cdist": _w(ops.cdist, "two rows", limit=1e-3),
    "cholesky": _w(ops.cholesky, "positive definite"),
    "cholesky_inverse": _w(lambda x: ops.cholesky_inverse(ops.tril(x)), "positive definite", limit=1e-4),
    "det": _w(ops.det, "regular", limit=1e-4),
    "inv": _w(ops.inv, "regular", limit=1e-4),
    "logdet": _w(ops.logdet, "positive definite"),
    "slogdet": _w(lambda x: ops.slogdet(x)[1], "regular"),
    "lu_factor": _w(lambda x: ops.lu_factor(x[0])[0][None], "regular", fixed=True),
    "matrix_rank": _w(ops.matrix_rank, "regular"),
    "pinv": _w(ops.pinv, "regular", limit=1e-3),
    "qr": _w(lambda x: ops.abs(ops.qr(x)[1]), "regular"),
    "solve": _w(ops.solve, "regular and right side", limit=1e-4),
    "solve_triangular": _w(lambda a, b: ops.solve_triangular(a, b, lower=True), "regular and right side", limit=1e-4),
    "svd": _w(lambda x: ops.svd(x, compute_uv=False), "regular", limit=1e-4),
    "eigh": _w(lambda x: ops.eigh(x)[0], "positive definite", limit=1e-4),
    "lstsq": _w(lambda a, b: ops.lstsq(a[0], b[0])[None], "regular and right side", limit=1e-3),
}

SIGNALS: Table = {
    "fft": _w(lambda x: ops.stack(ops.fft((x, -x)), -1), "rows"),
    "fft2": _w(lambda x: ops.stack(ops.fft2((x, -x)), -1), "rows"),
    "ifft2": _w(lambda x: ops.stack(ops.ifft2((x, -x)), -1), "rows"),
    "rfft": _w(lambda x: ops.stack(ops.rfft(x), -1), "signal rows"),
    "irfft": _w(lambda x: ops.irfft((x, x)), "rows"),
    "stft": _w(lambda x: ops.stack(ops.stft(x, 16, 8, 16), -1), "signal"),
    "istft": _w(lambda x: ops.istft(ops.stft(x, 16, 8, 16), 16, 8, 16), "signal"),
}

IMAGES: Table = {
    **{
        f"image.resize: {k}{' antialias' * a} {size}": _w(
            lambda x, k=k, a=a, size=size: ops.image.resize(x, (size, size), k, antialias=bool(a)), "image"
        )
        for k in _SIZES
        for a in (0, 1)
        for size in (5, 13)
    },
    "image.resize: crop": _w(lambda x: ops.image.resize(x, (4, 6), crop_to_aspect_ratio=True), "image"),
    "image.resize: pad": _w(lambda x: ops.image.resize(x, (4, 6), pad_to_aspect_ratio=True), "image"),
    "image.affine_transform": _w(
        lambda x: ops.image.affine_transform(x, ops.convert_to_tensor([[1.0, 0.1, 0.5, -0.1, 1.0, 0.25, 0, 0]])),
        "image",
    ),
    "image.affine_transform: nearest": _w(
        lambda x: ops.image.affine_transform(
            x,
            ops.convert_to_tensor([[1.0, 0.1, 0.5, -0.1, 1.0, 0.25, 0, 0]]),
            interpolation="nearest",
            fill_mode="reflect",
        ),
        "image",
    ),
    "image.perspective_transform": _w(
        lambda x: ops.image.perspective_transform(
            x,
            ops.convert_to_tensor([[[0.0, 0], [0, 7], [7, 0], [7, 7]]]),
            ops.convert_to_tensor([[[0.5, 0], [0, 6], [7, 1], [6, 7]]]),
        ),
        "image",
        limit=1e-4,
    ),
    "image.crop_images": _w(lambda x: ops.image.crop_images(x, 1, 2, target_height=4, target_width=5), "image"),
    "image.pad_images": _w(lambda x: ops.image.pad_images(x, 1, 2, target_height=12, target_width=12), "image"),
    "image.extract_patches": _w(lambda x: ops.image.extract_patches(x, 3, 2), "image"),
    "image.extract_patches: same": _w(lambda x: ops.image.extract_patches(x, 3, 2, padding="same"), "image"),
    "image.extract_patches_3d": _w(lambda x: ops.image.extract_patches_3d(x, 3, 2), "volume"),
    "image.gaussian_blur": _w(ops.image.gaussian_blur, "image"),
    "image.hsv_to_rgb": _w(ops.image.hsv_to_rgb, "colours"),
    "image.rgb_to_hsv": _w(ops.image.rgb_to_hsv, "colours"),
    "image.rgb_to_grayscale": _w(ops.image.rgb_to_grayscale, "image"),
    "image.map_coordinates": _w(
        lambda x: ops.image.map_coordinates(
            x[0, :, :, 0], ops.convert_to_tensor([[0.5, 1.25, 6.5], [2.0, 3.75, -0.5]]), 1
        )[None],
        "image",
    ),
    "image.scale_and_translate": _w(
        lambda x: ops.image.scale_and_translate(
            x, (1, 6, 6, 3), ops.convert_to_tensor([0.7, 0.8]), ops.convert_to_tensor([0.2, 0.3]), (1, 2), "linear"
        ),
        "image",
    ),
    "image.sobel_edges": _w(ops.image.sobel_edges, "image"),
    "image.ssim": _w(ops.image.ssim, "two images", limit=1e-4),
}
