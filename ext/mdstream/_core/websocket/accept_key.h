/* The value of Sec-WebSocket-Accept: SHA-1 of the client's key and a fixed text, in base64 (RFC 6455 section 4.2.2).
 *
 * It proves only that the server speaks WebSocket, so nothing depends on the strength of SHA-1 (RFC 3174). A call of hashlib costs
 * several times as much as the two blocks that are hashed here, for each connection. */
#ifndef MDSTREAM_ACCEPT_KEY_H
#define MDSTREAM_ACCEPT_KEY_H

#include <stdint.h>
#include <string.h>

#define ACCEPT_KEY_SIZE 24   /* of the client's */
#define ACCEPT_SIZE 28       /* of the answer */

static inline uint32_t accept_rotated(uint32_t word, int bits) { return word << bits | word >> (32 - bits); }

#define ACCEPT_ROUND(mixed, constant)                                                  \
    do {                                                                               \
        uint32_t sum = accept_rotated(a, 5) + (mixed) + e + (constant) + w[i];          \
        e = d;                                                                         \
        d = c;                                                                         \
        c = accept_rotated(b, 30);                                                     \
        b = a;                                                                         \
        a = sum;                                                                       \
    } while (0)

static void accept_hash_block(uint32_t state[5], const unsigned char block[64])
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = accept_rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 20; i++)
        ACCEPT_ROUND((b & c) | (~b & d), 0x5A827999u);
    for (int i = 20; i < 40; i++)
        ACCEPT_ROUND(b ^ c ^ d, 0x6ED9EBA1u);
    for (int i = 40; i < 60; i++)
        ACCEPT_ROUND((b & c) | (b & d) | (c & d), 0x8F1BBCDCu);
    for (int i = 60; i < 80; i++)
        ACCEPT_ROUND(b ^ c ^ d, 0xCA62C1D6u);
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>

#define ACCEPT_SHA_CODE __attribute__((target("sha,sse4.1")))

/* Four rounds: `mixes` says which of the four functions they use. The compiler unrolls, so that it is a constant. */
#define ACCEPT_ROUNDS(first, mixes)                                                                                      \
    for (int i = (first); i < (first) + 5; i++) {                                                                        \
        if (i >= 4)                                                                                                      \
            w[i & 3] = _mm_sha1msg2_epu32(                                                                               \
                _mm_xor_si128(_mm_sha1msg1_epu32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3]), w[(i + 3) & 3]);             \
        before = abcd;                                                                                                   \
        abcd = _mm_sha1rnds4_epu32(abcd, i ? _mm_sha1nexte_epu32(e, w[i & 3]) : _mm_add_epi32(e, w[0]), mixes);           \
        e = before;                                                                                                      \
    }

/* By the processor's own instructions (Intel SHA extensions). */
ACCEPT_SHA_CODE static void accept_hash_block_sha(uint32_t state[5], const unsigned char block[64])
{
    const __m128i swapped = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i w[4], before, abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1B);
    __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0);
    const __m128i abcd_before = abcd, e_before = e;
    for (int i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)block + i), swapped);
    ACCEPT_ROUNDS(0, 0)
    ACCEPT_ROUNDS(5, 1)
    ACCEPT_ROUNDS(10, 2)
    ACCEPT_ROUNDS(15, 3)
    e = _mm_sha1nexte_epu32(e, e_before);
    abcd = _mm_add_epi32(abcd, abcd_before);
    _mm_storeu_si128((__m128i *)state, _mm_shuffle_epi32(abcd, 0x1B));
    state[4] = (uint32_t)_mm_extract_epi32(e, 3);
}

static int accept_sha_usable(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}
#else
static int accept_sha_usable(void) { return 0; }
static void accept_hash_block_sha(uint32_t state[5], const unsigned char block[64]) { (void)state, (void)block; }
#endif

/* The base64 of the bits from `bit` on, six of them. */
static char accept_digit(const unsigned char* digest, int bit)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int both = digest[bit / 8] << 8 | digest[bit / 8 + 1];
    return digits[both >> (10 - bit % 8) & 63];
}

/* `by_processor`: as accept_sha_usable says. */
static void accept_of_key(const char* key, char* accept, int by_processor)
{
    void (*hash_block)(uint32_t *, const unsigned char *) = by_processor ? accept_hash_block_sha : accept_hash_block;
    uint32_t state[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u, 0xC3D2E1F0u};
    unsigned char blocks[128] = {0}, digest[21] = {0};
    memcpy(blocks, key, ACCEPT_KEY_SIZE);
    memcpy(blocks + ACCEPT_KEY_SIZE, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    blocks[60] = 0x80;                  /* the end of the 60 bytes, and at the very end their number of bits, 480 */
    blocks[126] = 1;
    blocks[127] = 0xE0;
    hash_block(state, blocks);
    hash_block(state, blocks + 64);
    for (int i = 0; i < 20; i++)
        digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
    for (int i = 0; i < 27; i++)
        accept[i] = accept_digit(digest, 6 * i);
    accept[27] = '=';
}

#endif
