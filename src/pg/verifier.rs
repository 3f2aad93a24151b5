//! What a server stores of a password: made here, so that the password itself gets into no log of the server.

use openssl::base64::{decode_block, encode_block};
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;

use crate::secret::Secret;

/// Returns the SCRAM-SHA-256 verifier of a password, with a salt of its own.
pub fn scram_verifier(password: &Secret) -> Secret {
    Secret::new(postgres_protocol::password::scram_sha_256(password.reveal().as_bytes()))
}

/// Makes a password: 32 characters that need no quoting anywhere, of 192 random bits.
///
/// # Errors
/// Fails if there are no random numbers.
pub fn generate() -> anyhow::Result<Secret> {
    let mut bytes = [0; 24];
    rand_bytes(&mut bytes)?;
    Ok(Secret::new(encode_block(&bytes).replace('+', "-").replace('/', "_")))
}

/// Says whether a role's stored password is this one; None where that cannot be determined.
pub fn matches(stored: &Secret, role: &str, password: &Secret) -> Option<bool> {
    let (stored, password) = (stored.reveal(), password.reveal());
    if let Some(digest) = stored.strip_prefix("md5") {
        // A system that is held to FIPS has no MD5.
        let made = hash(MessageDigest::md5(), format!("{password}{role}").as_bytes()).ok()?;
        return Some(made.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == digest);
    }
    // `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`
    let (rounds, rest) = stored.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
    let (salt, keys) = rest.split_once('$')?;
    let (stored_key, _) = keys.split_once(':')?;
    // Other characters may be stored under another form (SASLprep).
    if !password.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return None;
    }
    let mut salted = [0; 32];
    let sha256 = MessageDigest::sha256();
    pbkdf2_hmac(password.as_bytes(), &decode_block(salt).ok()?, rounds.parse().ok()?, sha256, &mut salted)
        .ok()?;
    let key = PKey::hmac(&salted).ok()?;
    let client_key = Signer::new(sha256, &key).ok()?.sign_oneshot_to_vec(b"Client Key").ok()?;
    Some(encode_block(&hash(sha256, &client_key).ok()?) == stored_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_knows_its_password_and_no_other() {
        let password = Secret::new("s3cr:et 'x'");
        let verifier = scram_verifier(&password);
        assert!(verifier.reveal().starts_with("SCRAM-SHA-256$4096:"));
        assert!(!verifier.reveal().contains("s3cr"));
        assert_eq!(matches(&verifier, "u", &password), Some(true));
        assert_eq!(matches(&verifier, "u", &Secret::new("other")), Some(false));
        assert_eq!(matches(&verifier, "u", &Secret::new("\u{aa}")), None);
        assert_eq!(matches(&Secret::new("something"), "u", &password), None);
        // md5('pu')
        let stored = Secret::new("md5534b9a3588bdd87bf7c3b9d650e43e46");
        assert_ne!(matches(&stored, "u", &Secret::new("p")), Some(false));
        assert_ne!(matches(&stored, "u", &Secret::new("q")), Some(true));
    }

    #[test]
    fn a_generated_password_needs_no_quoting() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        for password in [one, other] {
            assert_eq!(password.reveal().len(), 32);
            assert!(password.reveal().bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c)));
        }
    }
}
