//! Certificates for servers and roles.

use std::path::Path;

use super::run_tool;

/// Makes a certificate authority, a server's certificate and one of role `repmgr`, whose key is encrypted.
pub fn certificates(dir: &Path, passphrase: &str) {
    let script = r#"
        set -eu
        cd "$1"
        openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.crt -days 30 -subj /CN=root
        sign() {
            openssl req -new -newkey rsa:2048 -nodes -keyout "$1.key" -subj "/CN=$2" -out "$1.csr"
            printf "$3" >"$1.ext"
            openssl x509 -req -in "$1.csr" -CA root.crt -CAkey root.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt"
        }
        # Before PostgreSQL 15 libpq looks for an address in the common name only.
        sign server 127.0.0.1 'subjectAltName=IP:127.0.0.1\n'
        sign repmgr repmgr ''
        openssl rsa -in repmgr.key -aes128 -passout "pass:$2" -out locked.key
        rm repmgr.key
        chmod 600 ./*.key
    "#;
    std::fs::create_dir(dir).unwrap();
    run_tool(Path::new("/bin/sh"), ["-c", script, "sh", dir.to_str().unwrap(), passphrase]).code(0);
}
