"""Which precision is fastest for a CLIP image encoder, and do its outputs stay the same?"""

from vitbench import Case, Study

COMPILED = {"compile": {"measure.compile": True}}
"""For batches: compiling takes a minute, and a batch of one is seldom faster for it."""
PRECISIONS = [
    "fp32",
    "tf32",
    "fp16",
    "bf16",
    "pure_fp16",
    "pure_bf16",
    "autocast_fp16",
    "autocast_bf16",
    "int8",
]


def encoder(name, *, batch_size, more={}):
    return Study(
        "clip_precision",
        base=Case.of(settings={"measure.encoder": name, "measure.batch_size": batch_size}),
        arms={
            **{each: {"measure.precision": each} for each in PRECISIONS},
            **more,
        },
        baseline="fp32",
        metrics=[
            "latency_ratio",
            "latency_p50_ms",
            "images_per_second",
            "first_call_ms",
            "peak_memory_mib",
            "weights_mib",
            "forward_flops",
            "max_abs_difference",
            "cosine",
            "top1_agreement",
            "max_probability_change",
        ],
        equal=["forward_flops"],
        margins={"latency_ratio": 0.02},
        seeds=1,
        note="latency_ratio is the median of rounds that time this precision and fp32 in turn; "
        "that of fp32 against itself shows what is noise. Outputs are compared on "
        "measure.images images, 8 at quick. The weights are random unless measure.weights names some",
    )


@encoder("open_clip:RN50", batch_size=1).cases
def test_rn50_image_by_image(case, run_case):
    check(run_case(case))


@encoder("open_clip:RN50", batch_size=8, more=COMPILED).cases
def test_rn50_batches_of_8(case, run_case):
    check(run_case(case))


@encoder("open_clip:ViT-B-32", batch_size=1).cases
def test_vit_b_32_image_by_image(case, run_case):
    check(run_case(case))


@encoder("open_clip:ViT-B-32", batch_size=8, more=COMPILED).cases
def test_vit_b_32_batches_of_8(case, run_case):
    check(run_case(case))


def check(record):
    """Another precision's outputs are checked where they are made: an invalid record has failed.

    There is no latency where other cases run beside this one.
    """
    latency = record.metrics["latency_p50_ms"]
    assert latency.reason if latency.value is None else latency.value > 0
    assert record.metric("weights_mib") > 0
