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

/* The base64 of the bits from `bit` on, six of them. */
static char accept_digit(const unsigned char* digest, int bit)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int both = digest[bit / 8] << 8 | digest[bit / 8 + 1];
    return digits[both >> (10 - bit % 8) & 63];
}

static void accept_of_key(const char* key, char* accept)
{
    uint32_t state[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u, 0xC3D2E1F0u};
    unsigned char blocks[128] = {0}, digest[21] = {0};
    memcpy(blocks, key, ACCEPT_KEY_SIZE);
    memcpy(blocks + ACCEPT_KEY_SIZE, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    blocks[60] = 0x80;                  /* the end of the 60 bytes, and at the very end their number of bits, 480 */
    blocks[126] = 1;
    blocks[127] = 0xE0;
    accept_hash_block(state, blocks);
    accept_hash_block(state, blocks + 64);
    for (int i = 0; i < 20; i++)
        digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
    for (int i = 0; i < 27; i++)
        accept[i] = accept_digit(digest, 6 * i);
    accept[27] = '=';
}

#endif
