package evaluation

import (
	"crypto/md5"
	"encoding/binary"
)

// bucket puts salt and key on the line [0, 100), in steps of 100/9998. All engines do it in this way, so that an identity
// is on the same side of a split wherever it is evaluated. Salt and key, joined by a comma, are hashed; on the 9999th
// step, which would be 100, they are hashed again with themselves repeated. buf is scratch space and is returned grown.
func bucket(buf []byte, salt string, key []byte) (float64, []byte) {
	buf = append(append(append(buf[:0], salt...), ','), key...)
	once := len(buf)
	for {
		step := md5Mod9999(buf)
		if step != 9998 {
			return float64(step) / 9998 * 100, buf
		}
		buf = append(append(buf, ','), buf[:once]...)
	}
}

// md5Mod9999 is the MD5 sum, read as a big-endian number of 128 bits, modulo 9999.
func md5Mod9999(data []byte) uint64 {
	sum := md5.Sum(data)
	return mod9999(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:]))
}

// mod9999 is a number of 128 bits modulo 9999. The divisor is constant, so that
// the compiler needs no division, which would take a quarter of the time of the sum.
func mod9999(high, low uint64) uint64 {
	const wrap = (1 << 64) % 9999
	return (high%9999*wrap + low%9999) % 9999
}
