//! Whether a certificate has signed itself: its issuer is its subject (RFC 5280, 4.1).

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// False for what is no certificate.
pub(super) fn is_self_signed(der: &[u8]) -> bool {
    names(der).is_some_and(|(issuer, subject)| issuer == subject)
}

/// Issuer and subject, in DER.
fn names(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (certificate, _) = inside(der, SEQUENCE)?;
    let (mut rest, _) = inside(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        (_, rest) = element(rest)?;
    }
    let (_serial, rest) = element(rest)?;
    let (_algorithm, rest) = element(rest)?;
    let (issuer, rest) = element(rest)?;
    let (_validity, rest) = element(rest)?;
    let (subject, _) = element(rest)?;
    Some((issuer, subject))
}

/// The content of the first element, which has to be of that kind, and what follows it.
fn inside(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (header, length) = header(der)?;
    let end = header.checked_add(length)?;
    (*der.first()? == tag && end <= der.len()).then(|| (&der[header..end], &der[end..]))
}

/// The first element as it stands, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, length) = header(der)?;
    der.split_at_checked(header.checked_add(length)?)
}

/// Bytes of the first element's header and content.
fn header(der: &[u8]) -> Option<(usize, usize)> {
    let first = *der.get(1)?;
    if first < 0x80 {
        return Some((2, first.into()));
    }
    let count = usize::from(first & 0x7f);
    let digits = der.get(2..2 + count).filter(|digits| (1..=4).contains(&digits.len()))?;
    Some((2 + count, digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};

    #[test]
    fn a_self_signed_certificate_is_told_from_one_that_was_issued() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        assert!(is_self_signed(own.cert.der()));
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "authority");
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let issued = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let issued = issued.signed_by(&key, &authority).unwrap();
        assert!(!is_self_signed(issued.der()));
    }

    #[test]
    fn what_is_no_certificate_is_not_self_signed() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        for length in 0..own.cert.der().len().min(200) {
            // It must not panic wherever it is cut.
            is_self_signed(&own.cert.der()[..length]);
        }
        assert!(!is_self_signed(b""));
        assert!(!is_self_signed(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30]));
    }
}
