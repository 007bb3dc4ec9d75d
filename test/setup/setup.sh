#!/bin/sh
# Installs what is missing on a Debian 12 or 13 machine: Debian packages, npm packages, the pinned Node. Says what it did.
# Changes nothing where everything is there. Needs root only when a Debian package is missing.
set -eu
cd "$(dirname "$0")/../.."

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$1" >&2; printf 'setup: next: %s\n' "$2" >&2; exit 1; }

. /etc/os-release
case "${ID:-}:${VERSION_ID:-}" in
  debian:12 | debian:13) ;;
  *) say "this is ${PRETTY_NAME:-an unknown system}; Rehost is built and tested on Debian 12 and 13" ;;
esac

missing=
for package in $(grep -v '^#' test/setup/packages.txt); do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
  [ "$status" = 'install ok installed' ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
  say "Debian packages missing:$missing"
  [ "$(id -u)" -eq 0 ] || die 'installing Debian packages needs root' 'run make setup as root once'
  apt-get -qq update
  # shellcheck disable=SC2086 # a list of package names
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
  say 'Debian packages installed'
fi

command -v node >/dev/null || die 'there is no node' 'install any Node.js from 20 on with npm (Debian 13: apt install nodejs npm)'
command -v npm >/dev/null || die 'there is no npm' 'install npm (Debian 13: apt install npm)'
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 20 ] || die "node is $(node --version)" 'install any Node.js from 20 on; Rehost then brings its own'

# The lock file decides: what was installed for another lock is installed anew.
wanted=$(sha256sum package-lock.json | cut -d ' ' -f 1)
if [ "$(cat node_modules/.rehost-lock 2>/dev/null || true)" != "$wanted" ]; then
  say 'npm packages missing or of another lock file'
  # Not `npm ci`: it refuses a lock file without the optional packages of other platforms, which not every mirror has.
  # `install --no-save` takes the locked versions and checks their hashes all the same, and writes neither file.
  npm install --no-save --no-audit --no-fund --loglevel=error
fi
# An npm that does not run packages' install scripts leaves the pinned Node out: its own script brings it.
[ -x node_modules/node/bin/node ] || (cd node_modules/node && node installArchSpecificPackage.js)
[ -x node_modules/node/bin/node ] || die 'the pinned Node was not installed' 'look at what npm printed above'
[ "$(cat node_modules/.rehost-lock 2>/dev/null || true)" = "$wanted" ] || printf '%s\n' "$wanted" >node_modules/.rehost-lock

say "ready: Node $(node_modules/node/bin/node --version), libvirt $(libvirtd --version | sed 's/.* //'), $(qemu-system-x86_64 --version | sed -n '1s/ (.*//p')"
