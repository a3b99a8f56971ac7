/* Power series modulo a prime p < 2^30: a program of rational operations, order by order.

   A node is a series of `orders` coefficients, each of `lanes` numbers (`wide`) or of one number
   that all lanes share. Its storage starts at data + offset, order by order. Inputs and constants
   are filled in before the call; the states' coefficients of order k + 1 are written here, from
   their rates of order k: y' = sign * rate.

   Products of two coefficients are below 2^60, so that 16 of them fit a sum of 64 bits. */

#include <stdint.h>

typedef uint32_t u32;
typedef uint64_t u64;

enum { CONSTANT, INPUT, ADD, SUB, MUL, DIV, NEG, TWICE };

typedef struct {
    int32_t op, a, b, wide;
    int64_t offset;
} node;

static inline u32 reduce(u64 x, u64 p, u64 magic) {
    u64 q = (u64)(((unsigned __int128)x * magic) >> 64);
    u64 r = x - q * p;
    return (u32)(r >= p ? r - p : r);
}

static u64 power(u64 x, u64 e, u64 p) {
    u64 y = 1;
    for (x %= p; e; e >>= 1, x = x * x % p)
        if (e & 1) y = y * x % p;
    return y;
}

/* sum over j = first..last of a_j b_{k-j} */
static void convolve(const node *a, const node *b, const u32 *data, long k, long first, long last,
                     long lanes, long width, u64 p, u64 magic, u32 *out) {
    long wa = a->wide ? lanes : 1, wb = b->wide ? lanes : 1;
    const u32 *da = data + a->offset, *db = data + b->offset;
    if (width == 1) {
        u64 sum = 0;
        for (long j = first, count = 0; j <= last; j++) {
            sum += (u64)da[j] * db[k - j];
            if (++count == 15) { sum = reduce(sum, p, magic); count = 0; }
        }
        out[0] = reduce(sum, p, magic);
        return;
    }
    enum { BLOCK = 64 };
    for (long start = 0; start < width; start += BLOCK) {
        long size = width - start < BLOCK ? width - start : BLOCK, count = 0;
        u64 sum[BLOCK] = {0};
        for (long j = first; j <= last; j++) {
            const u32 *x = da + j * wa, *y = db + (k - j) * wb;
            if (a->wide && b->wide)
                for (long i = 0; i < size; i++) sum[i] += (u64)x[start + i] * y[start + i];
            else {
                u64 scalar = a->wide ? y[0] : x[0];
                const u32 *z = (a->wide ? x : y) + start;
                if (scalar == 0) continue;
                for (long i = 0; i < size; i++) sum[i] += scalar * z[i];
            }
            if (++count == 15) {
                for (long i = 0; i < size; i++) sum[i] = reduce(sum[i], p, magic);
                count = 0;
            }
        }
        for (long i = 0; i < size; i++) out[start + i] = reduce(sum[i], p, magic);
    }
}

/* 0, or 1 + the node at which a division by zero came up. */
int modular_series(long nodes, const node *program, long orders, long lanes, u32 prime, u32 *data,
                   long states, const int32_t *state, const int32_t *rate, int sign,
                   u32 *inverses) {
    const u64 p = prime, magic = ~(u64)0 / p;
    for (long k = 0; k < orders; k++) {
        for (long n = 0; n < nodes; n++) {
            const node *v = program + n;
            if (v->op == CONSTANT || v->op == INPUT) continue;
            const node *a = program + v->a, *b = program + v->b;
            const long width = v->wide ? lanes : 1;
            const long wa = a->wide ? 1 : 0, wb = b->wide ? 1 : 0;
            const u32 *x = data + a->offset + k * (wa ? lanes : 1);
            const u32 *y = data + b->offset + k * (wb ? lanes : 1);
            u32 *out = data + v->offset + k * width;
            switch (v->op) {
            case ADD:
                for (long i = 0; i < width; i++) {
                    u32 s = x[i * wa] + y[i * wb];
                    out[i] = s >= prime ? s - prime : s;
                }
                break;
            case SUB:
                for (long i = 0; i < width; i++) {
                    u32 s = x[i * wa] + prime - y[i * wb];
                    out[i] = s >= prime ? s - prime : s;
                }
                break;
            case NEG:
                for (long i = 0; i < width; i++) out[i] = x[i] ? prime - x[i] : 0;
                break;
            case TWICE:
                for (long i = 0; i < width; i++) {
                    u32 s = x[i] + x[i];
                    out[i] = s >= prime ? s - prime : s;
                }
                break;
            case MUL:
                convolve(a, b, data, k, 0, k, lanes, width, p, magic, out);
                break;
            case DIV: { /* q_k = (a_k - sum_{j=1..k} b_j q_{k-j}) / b_0 */
                const u32 *b0 = data + b->offset;
                u32 *inverse = inverses + n * lanes;
                if (k == 0)
                    for (long i = 0; i < (b->wide ? lanes : 1); i++) {
                        if (b0[i] == 0) return (int)(1 + n);
                        inverse[i] = (u32)power(b0[i], p - 2, p);
                    }
                if (k > 0)
                    convolve(b, v, data, k, 1, k, lanes, width, p, magic, out);
                else
                    for (long i = 0; i < width; i++) out[i] = 0;
                for (long i = 0; i < width; i++)
                    out[i] = reduce((u64)(x[i * wa] + prime - out[i]) % p * inverse[i * wb], p, magic);
                break;
            }
            }
        }
        if (k + 1 == orders) break;
        const u64 factor = power((u64)(k + 1), p - 2, p);
        for (long s = 0; s < states; s++) {
            const node *to = program + state[s], *from = program + rate[s];
            const long width = to->wide ? lanes : 1;
            const long wf = from->wide ? 1 : 0;
            const u32 *x = data + from->offset + k * (wf ? lanes : 1);
            u32 *out = data + to->offset + (k + 1) * width;
            for (long i = 0; i < width; i++) {
                u32 value = reduce(x[i * wf] * factor, p, magic);
                out[i] = sign < 0 && value ? prime - value : value;
            }
        }
    }
    return 0;
}
