"""The law of fluctuation comes back from draws whose law is known."""

import numpy as np
import pytest

from calibration.fluctuation_fit import Variances, fit_law

TRUTH = {"slope": 0.782, "offset": -3.25, "spread": 1.0}


def drawn(seed, *, devices=1500, reads=200, noise_us=0.0):
    """Variances of reads of devices from 5 to 50 µS, after Mao et al. 2022 (G and σ in µS)."""
    rng = np.random.default_rng(seed)
    conductance = rng.uniform(5, 50, devices)
    a, b, s = TRUTH.values()
    sigma = np.exp(a * np.log(conductance) + b + s * rng.standard_normal(devices))
    observed = (sigma**2 + noise_us**2) * rng.chisquare(reads - 1, devices) / (reads - 1)
    return Variances(conductance, observed, np.full(devices, noise_us**2), reads - 1)


@pytest.mark.parametrize("noise_us", [0.0, 0.4])
def test_the_law_is_recovered_within_its_confidence_however_loud_the_converter(noise_us):
    laws = [fit_law(drawn(seed, noise_us=noise_us)) for seed in range(8)]

    for name, truth in TRUTH.items():
        inside = [low <= truth <= high for low, high in (law.interval(name) for law in laws)]
        assert sum(inside) >= 6, name
        assert np.mean([getattr(law, name) for law in laws]) == pytest.approx(truth, abs=0.06)


def test_converter_noise_left_in_would_be_taken_for_the_devices_own():
    seen = drawn(0, noise_us=0.4)
    silent = Variances(seen.mean_us, seen.variance_us2, 0 * seen.noise_us2, seen.freedom)
    assert fit_law(silent).slope < fit_law(seen).slope - 0.2


def test_confidence_shrinks_as_the_root_of_the_number_of_devices():
    few, many = fit_law(drawn(1, devices=500)), fit_law(drawn(1, devices=4500))
    assert np.sqrt(np.diag(few.covariance / many.covariance)) == pytest.approx([3, 3, 3], rel=0.15)


def test_the_law_in_words_is_the_law_in_numbers():
    law = fit_law(drawn(2))
    median = np.exp(law.slope * np.log(20.0) + law.offset)
    assert law.sigma_us(np.array(20.0), normal=1.0) == pytest.approx(median * np.exp(law.spread))


def test_one_conductance_has_no_slope():
    seen = drawn(3, devices=50)
    flat = Variances(np.full(50, 20.0), seen.variance_us2, seen.noise_us2, seen.freedom)
    with pytest.raises(ValueError, match="different conductances"):
        fit_law(flat)
