#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests of the avx512 kernels on a simulated CPU that has AVX-512: Bochs boots a Debian kernel with
# Python, NumPy, pytest and bitmill in memory. The instructions are those that are shipped, but for
# one that Bochs gets wrong (tests/long/bochs/immintrin.h).
#   bash tests/long/bochs_avx512.sh [pytest arguments, default: verbs and kernels on avx512]
# Debian 12, g++, as root or after
#   apt-get install bochs bochsbios vgabios genisoimage isolinux syslinux-common busybox-static \
#     cpio lz4
# Works in build/bochs, or $BITMILL_BOCHS_BUILD. About half an hour; serial.txt there shows how far
# it is.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=${BITMILL_BOCHS_BUILD:-$PWD/build/bochs}
limit=${BITMILL_BOCHS_LIMIT:-3h}
mkdir -p "$work"
[ $# -gt 0 ] || set -- tests/test_verbs.py tests/test_kernels.py -k avx512

for tool in bochs-bin genisoimage busybox cpio lz4; do
  command -v $tool > /dev/null && continue
  apt-get install -y bochs bochsbios vgabios genisoimage isolinux syslinux-common busybox-static \
    cpio lz4 > "$work/apt.log"
done
if [ ! -e "$work/kernel/boot" ]; then
  image=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p')
  (cd "$work" && apt-get download "$image" && dpkg -x "$image"_*.deb kernel)
fi

# bitmill for real CPUs, and the intrinsics of the emulation as real instructions
if [ ! -e "$work/venv/ready" ]; then
  python3 -m venv --clear "$work/venv"
  "$work/venv/bin/pip" install --quiet 'scikit-build-core>=0.11' 'pybind11>=3.0' cmake ninja \
    'numpy>=2.0' 'ml_dtypes>=0.5' 'rich>=13.0' 'pytest>=8.0'
  touch "$work/venv/ready"
fi
. "$work/venv/bin/activate"
pip install --quiet --no-deps --no-build-isolation -Cbuild-dir="$work/build" \
  -Ccmake.define.CMAKE_CXX_FLAGS="-isystem $PWD/tests/long/bochs" .
compile="g++ -std=c++17 -O2 -ffp-contract=off -mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt"
check=tests/long/emulate/check.cpp
$compile -Wno-psabi -isystem tests/long/emulate $check -o "$work/check_emulated"
$compile -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi \
  -static $check -o "$work/check"

# the files of the guest: everything at the path it has here, packages in /site
rm -rf "$work/root" "$work/cd"
mkdir -p "$work"/root/{bin,proc,sys,dev,tmp,site,bitmill} "$work/cd/isolinux"
cp "$(command -v busybox)" "$work/check" "$work/root/bin/"
cp -r tests pyproject.toml "$work/root/bitmill/"
python - "$work/root" <<'PYTHON'
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

root = Path(sys.argv[1])
unused = "test tests idlelib tkinter turtledemo ensurepip lib2to3 config-* *.a *.pyi f2py _examples"
unused += " pip setuptools cmake ninja scikit_build_core pybind11 _distutils_hack *.pth"
ignore = shutil.ignore_patterns(*unused.split())
stdlib, site = sysconfig.get_path("stdlib"), sysconfig.get_path("platlib")
shutil.copytree(
    stdlib, root / stdlib[1:], ignore=shutil.ignore_patterns(*unused.split(), "site-packages")
)
shutil.copytree(site, root / "site", dirs_exist_ok=True, ignore=ignore)
python = Path(sys.executable).resolve()
(root / "bin/python").symlink_to(python)
(root / python.parent.relative_to("/")).mkdir(parents=True, exist_ok=True)
shutil.copy2(python, root / python.relative_to("/"))
for binary in [python, *root.rglob("*.so"), *root.rglob("*.so.*")]:
    told = subprocess.run(["ldd", str(binary)], capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", told):
        if Path(library).is_relative_to(root):
            continue
        copy = root / library[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy2(library, copy)
PYTHON
{
  echo '#!/bin/busybox sh'
  echo 'export PATH=/bin HOME=/tmp PYTHONPATH=/site OPENBLAS_NUM_THREADS=1 PYTHONHASHSEED=0'
  echo 'export PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 BITMILL_ISA=avx512'
  echo 'busybox mount -t proc proc /proc'
  echo 'busybox mount -t sysfs sys /sys'
  echo 'busybox mount -t devtmpfs dev /dev'
  echo 'busybox dmesg -n 1' # keeps the kernel out of the output
  echo 'echo CHECK; /bin/check; echo "CHECK ENDED $?"'
  echo 'cd /bitmill'
  printf '/bin/python -m pytest -v --color=no -p no:cacheprovider'
  printf ' %q' "$@"
  echo '; echo "PYTEST ENDED $?"'
  echo 'busybox sleep 2' # until the serial port has sent it all
  echo 'busybox poweroff -f'
} > "$work/root/init"
chmod +x "$work/root/init"

# Hidden from the kernel, because Bochs 2.7 describes or does them wrongly: protection keys (515),
# compact xsave areas (321, 323) and fast strings (297, 580).
options="console=ttyS0 nokaslr mitigations=off clearcpuid=515,321,323,297,580 lpj=1000000"
options="$options tsc=reliable clocksource=tsc no_timer_check random.trust_cpu=on"
cat > "$work/cd/isolinux/isolinux.cfg" <<CONFIG
default linux
prompt 0
label linux
  kernel vmlinuz
  append initrd=initrd $options
CONFIG
(cd "$work/root" && find . | cpio -o -H newc --quiet) | lz4 -l -1 -q > "$work/cd/isolinux/initrd"
cp "$work"/kernel/boot/vmlinuz-* "$work/cd/isolinux/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/cd/isolinux/"
genisoimage -quiet -o "$work/boot.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
  -no-emul-boot -boot-load-size 4 -boot-info-table "$work/cd"

# The speaker's sound driver aborts where there is no sound card.
cat > "$work/bochsrc" <<CONFIG
display_library: rfb, options="timeout=0"
cpu: model=corei7_icelake_u, count=1, ips=50000000
memory: guest=1024, host=1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial.txt
clock: sync=none
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
plugin_ctrl: speaker=0
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
CONFIG
echo c > "$work/continue" # Debian's Bochs starts in its debugger
rm -f "$work/serial.txt"
SECONDS=0
# In a network of its own: nobody else sees the screen.
unshare --map-root-user --net timeout "$limit" bochs-bin -q -f "$work/bochsrc" -rc "$work/continue" \
  > "$work/bochs.out" 2>&1 < /dev/null || true

tr -d '\r' < "$work/serial.txt" > "$work/result.txt"
sed -n '/^CHECK ENDED/,$p' "$work/result.txt"
echo "Bochs ran for $((SECONDS / 60)) minutes"
passed=true
sed -n '/^CHECK$/,/^CHECK ENDED/p' "$work/result.txt" | sed '1d;$d' > "$work/check.txt"
# Wrong in Bochs 2.7, each against Intel's text: vcvtps2ph half-way; vpsravq by 64, which leaves the
# lane as it is; vpconflictd, always 0; vcvtudq2ps from 2^31 on, just above half-way.
wrong=' (cvtps_ph_up|srav_epi64|conflict_epi32|cvtepu32_ps)$'
diff <(grep -vE "$wrong" "$work/check.txt") <("$work/check_emulated" | grep -vE "$wrong") || {
  echo "FAILED: the emulated intrinsics (>) differ from the instructions (<)"
  passed=false
}
grep -q '^CHECK ENDED 0$' "$work/result.txt" || passed=false
grep -q '^PYTEST ENDED 0$' "$work/result.txt" || passed=false
$passed && echo PASSED || { echo FAILED; exit 1; }
