#!/bin/sh
# Makes the Debian package of a binary that is built: deploy/debian/build.sh [BINARY] [FOLDER]
# `cargo xtask package` builds the binary and the list of what is in it, and calls this. COMPRESSION is one that dpkg-deb knows.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
binary=${1:-$root/target/release/quorate}
out=${2:-$root/target/debian}
[ -x "$binary" ] || { echo "there is no $binary: cargo build --release -p quorate-server" >&2; exit 1; }
version=$("$binary" --version | sed -n 's/.* quorate=\([^ ]*\).*/\1/p')
arch=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

install -Dm755 "$binary" "$tree/usr/bin/quorate"
for unit in "$root"/deploy/systemd/*.service; do
    install -Dm644 "$unit" "$tree/lib/systemd/system/$(basename "$unit")"
done
install -Dm640 "$root/deploy/debian/main.conf" "$tree/etc/quorate/main.conf"
for text in README.md LICENSE-MIT LICENSE-APACHE; do
    install -Dm644 "$root/$text" "$tree/usr/share/doc/quorate/$text"
done
if [ -n "${SBOM:-}" ]; then
    install -Dm644 "$SBOM" "$tree/usr/share/doc/quorate/sbom.cdx.json"
fi
# What the binary understands, it says itself.
install -d "$tree/usr/share/man/man1" "$tree/usr/share/bash-completion/completions" \
    "$tree/usr/share/zsh/vendor-completions" "$tree/usr/share/fish/vendor_completions.d"
"$binary" manual "$tree/usr/share/man/man1"
gzip -9n "$tree/usr/share/man/man1/"*.1
"$binary" completions bash > "$tree/usr/share/bash-completion/completions/quorate"
"$binary" completions zsh > "$tree/usr/share/zsh/vendor-completions/_quorate"
"$binary" completions fish > "$tree/usr/share/fish/vendor_completions.d/quorate.fish"
install -d "$tree/DEBIAN"
for script in postinst prerm postrm; do
    install -m755 "$root/deploy/debian/$script" "$tree/DEBIAN/$script"
done
echo /etc/quorate/main.conf > "$tree/DEBIAN/conffiles"
cat > "$tree/DEBIAN/control" <<CONTROL
Package: quorate
Version: $version
Architecture: $arch
Maintainer: The Quorate developers <quorate@example.invalid>
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Depends: libc6 (>= 2.34), libstdc++6, adduser
Section: database
Priority: optional
Description: Redis-compatible server, Sentinel, cluster and majority locks
 Keeps data available: replication, Sentinel, Cluster and RedLock in one binary,
 on the wire formats that Redis and Valkey speak.
 .
 systemctl start quorate@main starts a server with /etc/quorate/main.conf.
CONTROL
mkdir -p "$out"
dpkg-deb --root-owner-group -Z"${COMPRESSION:-xz}" --build "$tree" "$out/quorate_${version}_$arch.deb"
