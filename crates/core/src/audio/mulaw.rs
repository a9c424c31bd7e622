//! G.711 mu-law: one byte per sample of telephone audio at 8000 Hz.
//!
//! In the form of ITU-T G.191's software tools. Other codecs in the field move the decision values
//! of negative samples by a step, so they differ from this one on a few inputs.

/// The code of a sample of 0, which a telephone line carries in silence.
pub const SILENCE: u8 = 0xff;

/// Set in the code of a sample that is not negative.
const POSITIVE: u8 = 0x80;

/// Makes all segments begin at a power of two, in 14 bit units (G.711, note to table 2a).
const BIAS: u16 = 33;

/// The largest biased magnitude that a code can express, in 14 bit units.
const CLIP: u16 = 0x1fff;

/// The exponent of the smallest biased magnitude as a float has it, in front of four bits of step.
const FIRST_SEGMENT: u32 = (127 + BIAS.ilog2()) << 4;

static DECODED: [i16; 256] = decode_table();

/// The 16 bit sample that a code stands for: the middle of its interval, -32124 to 32124.
#[must_use]
pub const fn decode(code: u8) -> i16 {
    DECODED[code as usize]
}

/// The code of the interval in which a 16 bit sample lies; samples beyond 32635 are clipped.
#[must_use]
pub const fn encode(sample: i16) -> u8 {
    // G.191 takes the ones' complement of a negative sample, so that -1 mirrors 0.
    let (sign, magnitude) =
        if sample < 0 { (0, !sample as u16) } else { (POSITIVE, sample as u16) };
    let biased = (magnitude >> 2) + BIAS;
    let biased = if biased > CLIP { CLIP } else { biased };
    // A code is a small float: three bits of exponent, the segment, and four of what follows the
    // leading one, the step. As a float it has both side by side, for many samples at once.
    let exponent_and_step = (biased as f32).to_bits() >> (f32::MANTISSA_DIGITS - 1 - 4);
    sign | (!(exponent_and_step - FIRST_SEGMENT) as u8 & 0x7f)
}

/// The samples of many codes, in order.
#[must_use]
pub fn decode_all(codes: &[u8]) -> Vec<i16> {
    codes.iter().copied().map(decode).collect()
}

/// The codes of many samples, in order.
#[must_use]
pub fn encode_all(samples: &[i16]) -> Vec<u8> {
    samples.iter().copied().map(encode).collect()
}

const fn decode_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < table.len() {
        table[code] = expand(code as u8);
        code += 1;
    }
    table
}

const fn expand(code: u8) -> i16 {
    let segment = (!code >> 4) & 0x07;
    let step = (!code & 0x0f) as i16;
    let middle = (((2 * step + 33) << segment) - BIAS as i16) << 2;
    if code & POSITIVE == 0 { -middle } else { middle }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEGATIVE_ZERO: u8 = 0x7f;

    /// Decision values of one polarity in 14 bit units: G.711 table 2a, column 1 and 3, which gives
    /// one interval of 1 and 15 of 2, then seven segments of 16 intervals, each twice as wide.
    fn decision_values() -> Vec<u32> {
        let mut values = vec![0, 1];
        let widths = std::iter::once((15, 2)).chain((2..9).map(|power| (16, 1 << power)));
        for (count, width) in widths {
            for _ in 0..count {
                values.push(values.last().unwrap() + width);
            }
        }
        values
    }

    fn reference_encode(sample: i16) -> u8 {
        let (first, magnitude) =
            if sample < 0 { (0x7f, -1 - i32::from(sample)) } else { (0xff, i32::from(sample)) };
        let values = decision_values();
        let passed = values.iter().filter(|value| **value * 4 <= magnitude as u32).count();
        first - (passed - 1).min(127) as u8
    }

    fn reference_decode(code: u8) -> i16 {
        let values = decision_values();
        let interval = usize::from(0x7f - (code & 0x7f));
        // The first interval spans both polarities, so that its middle is 0.
        let doubled = if interval == 0 { 0 } else { values[interval] + values[interval + 1] };
        let magnitude = i16::try_from(doubled * 2).unwrap();
        if code < 0x80 { -magnitude } else { magnitude }
    }

    #[test]
    fn the_reference_ends_where_the_recommendation_ends() {
        let values = decision_values();
        assert_eq!(values.len(), 129);
        let segment_ends: Vec<u32> = values.iter().copied().skip(16).step_by(16).collect();
        assert_eq!(segment_ends, [31, 95, 223, 479, 991, 2015, 4063, 8159]);
    }

    #[test]
    fn all_codes_decode_to_the_middle_of_their_interval() {
        for code in 0..=u8::MAX {
            assert_eq!(decode(code), reference_decode(code), "code {code:#04x}");
        }
        assert_eq!(decode(SILENCE), 0);
        assert_eq!(decode(0x80), 32124);
        assert_eq!(decode(0x00), -32124);
    }

    #[test]
    fn all_samples_encode_to_the_interval_they_lie_in() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(encode(sample), reference_encode(sample), "sample {sample}");
        }
    }

    #[test]
    fn codes_survive_decoding_and_encoding() {
        for code in (0..=u8::MAX).filter(|code| *code != NEGATIVE_ZERO) {
            assert_eq!(encode(decode(code)), code);
        }
        assert_eq!(encode(decode(NEGATIVE_ZERO)), SILENCE);
    }

    #[test]
    fn quantisation_never_turns_back() {
        let quantised = |sample| decode(encode(sample));
        for sample in i16::MIN..i16::MAX {
            assert!(quantised(sample) <= quantised(sample + 1), "after {sample}");
        }
    }

    #[test]
    fn polarities_mirror_each_other_about_minus_one_half() {
        for sample in 0..=i16::MAX {
            assert_eq!(encode(sample) ^ 0x80, encode(-1 - sample), "sample {sample}");
        }
    }

    /// Guards against a slide into one of the field's other forms.
    #[test]
    fn differs_from_other_forms_only_at_negative_decision_values() {
        let form = |biased: i32| {
            let biased = biased.min(0x1fff) as u16;
            let segment = biased.ilog2() - 5;
            0x7f - ((segment as u8) << 4) - ((biased >> (segment + 1)) & 0x0f) as u8
        };
        let negated_first = |sample: i32| form((132 - sample) >> 2);
        let shifted_first = |sample: i32| form(33 - (sample >> 2));
        let differing = |other: &dyn Fn(i32) -> u8| {
            (i16::MIN..0).filter(|sample| encode(*sample) != other(i32::from(*sample))).count()
        };
        assert_eq!(differing(&negated_first), 127);
        assert_eq!(differing(&shifted_first), 508);
    }

    #[test]
    fn many_at_once_equal_one_by_one() {
        let codes: Vec<u8> = (0..=u8::MAX).collect();
        let samples = decode_all(&codes);
        assert_eq!(samples[3], decode(3));
        assert_eq!(encode_all(&samples)[0xa0], 0xa0);
        assert_eq!(samples.len(), codes.len());
    }
}
