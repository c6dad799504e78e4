/* CRC-32 (IEEE, reflected) by carry-less multiplication, where the processor has it.
 *
 * Sixty-four bytes are folded at a time, then sixteen, then the remainder is reduced (Gopal et al., "Fast CRC
 * Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009; constants of its reflected form). */
#ifndef MDSTREAM_CRC32_CLMUL_H
#define MDSTREAM_CRC32_CLMUL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define CRC_CLMUL_CODE __attribute__((target("pclmul,sse4.1")))

static int crc_clmul_usable(void) { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

CRC_CLMUL_CODE static inline __m128i crc_clmul_fold(__m128i folded, __m128i next, __m128i keys)
{
    __m128i low = _mm_clmulepi64_si128(folded, keys, 0x00), high = _mm_clmulepi64_si128(folded, keys, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

CRC_CLMUL_CODE static inline uint32_t crc_clmul_reduce(__m128i folded)
{
    const __m128i low32 = _mm_setr_epi32(~0, 0, ~0, 0);
    const __m128i to_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0), to_64 = _mm_set_epi64x(0, 0x163cd6124);
    const __m128i polynomial = _mm_set_epi64x(0x1f7011641, 0x1db710641);
    __m128i part = _mm_clmulepi64_si128(folded, to_128, 0x10);
    folded = _mm_xor_si128(_mm_srli_si128(folded, 8), part);
    part = _mm_srli_si128(folded, 4);
    folded = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(folded, low32), to_64, 0x00), part);
    part = _mm_clmulepi64_si128(_mm_and_si128(folded, low32), polynomial, 0x10);
    part = _mm_clmulepi64_si128(_mm_and_si128(part, low32), polynomial, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(part, folded), 1);
}

/* size: at least 64 and a multiple of 16. crc is the running remainder, not inverted. */
CRC_CLMUL_CODE static uint32_t crc_clmul(uint32_t crc, const uint8_t *at, size_t size)
{
    const __m128i by_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), by_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i *block = (const __m128i *)at;
    __m128i a = _mm_xor_si128(_mm_loadu_si128(block), _mm_cvtsi32_si128((int)crc));
    __m128i b = _mm_loadu_si128(block + 1), c = _mm_loadu_si128(block + 2), d = _mm_loadu_si128(block + 3);
    for (block += 4, size -= 64; size >= 64; block += 4, size -= 64) {
        a = crc_clmul_fold(a, _mm_loadu_si128(block), by_512);
        b = crc_clmul_fold(b, _mm_loadu_si128(block + 1), by_512);
        c = crc_clmul_fold(c, _mm_loadu_si128(block + 2), by_512);
        d = crc_clmul_fold(d, _mm_loadu_si128(block + 3), by_512);
    }
    a = crc_clmul_fold(crc_clmul_fold(crc_clmul_fold(a, b, by_128), c, by_128), d, by_128);
    for (; size >= 16; block++, size -= 16)
        a = crc_clmul_fold(a, _mm_loadu_si128(block), by_128);
    return crc_clmul_reduce(a);
}

#else
static int crc_clmul_usable(void) { return 0; }
static uint32_t crc_clmul(uint32_t crc, const uint8_t *at, size_t size) { (void)at, (void)size; return crc; }
#endif
#endif
