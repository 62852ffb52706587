# Stubs of the compiled module; tests/test_objects.py compares them with it.

from bitmill._dtypes import Array

Quantizer = tuple[int, int, int, int, int]
Minifloat = tuple[int, int, float, bool]
Tables = tuple[Array, Array, Array, float, float]

def isa() -> str: ...
def isas() -> list[str]: ...
def use_isa(name: str) -> None: ...
def stream_from(bytes: int) -> int: ...
def share_from(bytes: int) -> int: ...
def default_floats() -> int: ...
def restore_floats(before: int) -> None: ...
def kernel_names() -> list[str]: ...
def absmax(
    x: Array, type: int, rows: int, cols: int, group: int, out: Array, threads: int
) -> None: ...
def minmax(
    x: Array, type: int, rows: int, cols: int, group: int, lo: Array, hi: Array, threads: int
) -> None: ...
def column_absmax(
    x: Array, type: int, rows: int, cols: int, step: int, out: Array, threads: int
) -> None: ...
def column_minmax(
    x: Array, type: int, rows: int, cols: int, step: int, lo: Array, hi: Array, threads: int
) -> None: ...
def affine_params(
    quantizer: Quantizer,
    lo: Array,
    hi: Array,
    scale: Array | None,
    zero_point: Array | None,
    offset: Array | None,
) -> tuple[int, int, int]: ...
def affine_quantize(
    quantizer: Quantizer,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    scale: Array | None,
    zero_point: Array | None,
    offset: Array | None,
    codes: Array,
    threads: int,
) -> tuple[int, int, int]: ...
def affine_encode(
    quantizer: Quantizer,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    scale: Array | None,
    zero_point: Array | None,
    offset: Array | None,
    codes: Array,
    threads: int,
) -> None: ...
def token_quantize(
    quantizer: Quantizer,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    scale: Array,
    zero_point: Array | None,
    codes: Array,
    sums: Array,
    threads: int,
) -> tuple[int, int, int]: ...
def token_encode(
    quantizer: Quantizer,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    scale: Array,
    zero_point: Array | None,
    codes: Array,
    sums: Array,
    threads: int,
) -> None: ...
def mse_params(
    quantizer: Quantizer,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    importance: Array | None,
    by_row: bool,
    lo: Array,
    hi: Array,
    exact: bool,
    scale: Array | None,
    zero_point: Array | None,
    offset: Array | None,
    threads: int,
) -> tuple[int, int]: ...
def two_level_params(
    quantizer: Quantizer,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    importance: Array | None,
    by_row: bool,
    params: tuple[Array, Array | None, Array | None],
    out: tuple[Array | None, ...],
    bits: int,
    signed: bool,
    super_groups: int,
    threads: int,
) -> tuple[int, int]: ...
def affine_decode(
    quantizer: Quantizer,
    codes: Array,
    rows: int,
    cols: int,
    group: int,
    scale: Array | None,
    zero_point: Array | None,
    offset: Array | None,
    out: Array,
    type: int,
    threads: int,
) -> None: ...
def column_encode(
    quantizer: Quantizer,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    scale: Array,
    zero_point: Array,
    offset: Array,
    codes: Array,
    threads: int,
) -> None: ...
def column_decode(
    quantizer: Quantizer,
    codes: Array,
    rows: int,
    cols: int,
    scale: Array,
    zero_point: Array,
    offset: Array,
    out: Array,
    type: int,
    threads: int,
) -> None: ...
def pack(
    codes: Array, rows: int, cols: int, bits: int, is_signed: bool, out: Array, threads: int
) -> bool: ...
def unpack(
    packed: Array, rows: int, cols: int, bits: int, is_signed: bool, out: Array, threads: int
) -> None: ...
def to_float32(x: Array, type: int, out: Array, threads: int) -> None: ...
def from_float32(x: Array, type: int, out: Array, threads: int) -> None: ...
def hadamard(
    x: Array, type: int, rows: int, factors: Array, signs: Array, out: Array, threads: int
) -> None: ...
def error_sums(
    x: Array, type: int, y: Array, rows: int, cols: int, out: Array, max_at: Array, threads: int
) -> None: ...
def affine_error(
    quantizer: Quantizer,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    scale: Array | None,
    zero_point: Array | None,
    offset: Array | None,
    out: Array,
    threads: int,
) -> None: ...
def weighed_error(
    x: Array,
    type: int,
    y: Array,
    w: Array,
    by_row: bool,
    rows: int,
    cols: int,
    out: Array,
    threads: int,
) -> None: ...
def histogram(
    x: Array,
    type: int,
    rows: int,
    cols: int,
    exponent: Array,
    first: Array,
    bins: int,
    out: Array,
    threads: int,
) -> None: ...
def table_quantize(
    quantizer: Quantizer,
    table: Tables,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    scale: Array,
    codes: Array,
    threads: int,
) -> tuple[int, int, int]: ...
def table_encode(
    quantizer: Quantizer,
    tables: Tables,
    rows_per_table: int,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    scale: Array | None,
    codes: Array,
    threads: int,
) -> None: ...
def table_decode(
    quantizer: Quantizer,
    tables: Tables,
    rows_per_table: int,
    codes: Array,
    rows: int,
    cols: int,
    group: int,
    scale: Array | None,
    out: Array,
    type: int,
    threads: int,
) -> None: ...
def table_sums(
    table: Tables,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    importance: Array | None,
    by_row: bool,
    scales: Array,
    count: int,
    cross: Array,
    square: Array,
    threads: int,
) -> None: ...
def order_statistics(
    x: Array,
    type: int,
    rows: int,
    cols: int,
    rank: int,
    magnitude: bool,
    out: Array,
    threads: int,
) -> int: ...
def kmeans_edges(
    values: Array,
    weights: Array | None,
    rows: int,
    cols: int,
    k: int,
    pin_zero: bool,
    edges: Array,
    centroids: Array,
    cost: Array,
    zero: Array,
    threads: int,
) -> None: ...
def value_counts(
    x: Array,
    weights: Array | None,
    rows: int,
    cols: int,
    by_row: bool,
    counts: Array,
    sums: Array | None,
    threads: int,
) -> None: ...
def distinct_values(
    x: Array,
    weights: Array | None,
    rows: int,
    cols: int,
    by_row: bool,
    values: Array,
    counts: Array,
    sums: Array | None,
    sizes: Array,
    threads: int,
) -> None: ...
def bucket_sums(
    x: Array,
    weights: Array | None,
    rows: int,
    cols: int,
    by_row: bool,
    slots: Array,
    shift: int,
    buckets: int,
    out: Array,
    threads: int,
) -> None: ...
def assign_codes(
    x: Array,
    type: int,
    rows: int,
    cols: int,
    thresholds: Array,
    entries: int,
    per_table: int,
    bits: int,
    out: Array,
    threads: int,
) -> None: ...
def float_encode(
    format: Minifloat,
    x: Array,
    type: int,
    rows: int,
    cols: int,
    group: int,
    scale: Array,
    packed: bool,
    codes: Array,
    threads: int,
) -> None: ...
def float_decode(
    format: Minifloat,
    codes: Array,
    rows: int,
    cols: int,
    group: int,
    scale: Array,
    packed: bool,
    out: Array,
    type: int,
    threads: int,
) -> None: ...
def requantize(
    x: Array,
    rows: int,
    cols: int,
    multiplier: Array,
    shift: Array,
    zero_point: int,
    qmin: int,
    qmax: int,
    twice: bool,
    codes: Array,
    threads: int,
) -> None: ...
def matmul_int8(
    x: Array, w: Array, rows: int, cols: int, depth: int, out: Array, threads: int
) -> None: ...
def matmul_sums(
    x: Array,
    flips: bool,
    w: Array,
    w_zero_point: Array,
    bias: Array | None,
    rows: int,
    cols: int,
    depth: int,
    out: Array,
    threads: int,
) -> None: ...
def matmul_requantized(
    x: Array,
    flips: bool,
    w: Array,
    w_zero_point: Array,
    bias: Array | None,
    rows: int,
    cols: int,
    depth: int,
    multiplier: Array,
    shift: Array,
    zero_point: int,
    qmin: int,
    qmax: int,
    twice: bool,
    codes: Array,
    threads: int,
) -> None: ...
def matmul_w8a8(
    x: Array,
    flips: bool,
    x_params: tuple[Array, Array],
    w: Array,
    w_params: tuple[Array, Array, Array],
    bias: Array | None,
    rows: int,
    cols: int,
    depth: int,
    out: Array,
    type: int,
    threads: int,
) -> None: ...
def matmul_w4a8(
    x: Array,
    kind: int,
    x_params: tuple[Array | None, Array | None],
    w: Array,
    w_params: tuple[Array, Array | None, Array | None],
    scales: int,
    zero: int,
    group: int,
    bias: Array | None,
    rows: int,
    cols: int,
    depth: int,
    out: Array,
    type: int,
    threads: int,
) -> None: ...
def matmul_w4a16(
    x: Array,
    kind: int,
    x_params: tuple[Array | None, Array | None],
    w: Array,
    w_params: tuple[Array, Array | None, Array | None],
    scales: int,
    zero: int,
    group: int,
    bias: Array | None,
    rows: int,
    cols: int,
    depth: int,
    out: Array,
    type: int,
    threads: int,
) -> None: ...
def percentile_place(p: float, count: int) -> tuple[int, float]: ...
def interpolate(low: Array, high: Array, weight: float, out: Array) -> None: ...
def stream(x: Array, out: Array, lines_in: int, lines_out: int, threads: int) -> int: ...
def peak(name: str, steps: int) -> int: ...
def verb_names() -> list[str]: ...
def apply_verb(verb: int, a: Array, b: Array, n: int, out: Array) -> None: ...
def add_in_order(start: float, x: Array) -> float: ...
