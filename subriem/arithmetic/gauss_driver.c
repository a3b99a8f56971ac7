/* Gauss collocation with a fixed step, for several solutions at a time.
 *
 * Hairer, Lubich, Wanner, "Geometric Numerical Integration", 2nd ed. (2006), VIII.6: fixed-point
 * iteration of the stages until rounding stops it, compensated sums. Comes after ``lanes.c`` and
 * the generated function `start`.
 */
#define STAGES 4
#define ITERATIONS 100
enum { DONE, LEFT, BLEW_UP, STEP_LIMIT, KINK, STEP_TOO_LONG };

static void velocity(V *c, V *k, const V *y, const double *w, V *f) {
    start(c, k, NULL, 0, y, w);
    for (int m = 0; m < MOVING; m++) f[m] = c[SERIES + m];
}

/* One step of length h (by lane) from y: the stages' slopes in `slopes`, which come in as a guess,
 * and the increment of the moving states. Lanes that do not converge are marked in `failed`. */
static void step(V *c, V *k, const V *y, const double *w, V h, const double *a, const double *b,
                 V (*slopes)[MOVING + 1], V *increment, V *at, int *failed) {
    V before = zero + INFINITY, scale = zero;
    int open[LANES];
    for (int i = 0; i < LANES; i++) open[i] = 1;
    for (int n = 0; n < STATES; n++) {
        at[n] = y[n];
        scale += magnitude(y[n]);
    }
    for (int iteration = 0; iteration < ITERATIONS; iteration++) {
        V change = zero, new_slopes[STAGES][MOVING + 1];
        int any = 0;
        for (int s = 0; s < STAGES; s++) {
            for (int m = 0; m < MOVING; m++) {
                V sum = zero;
                for (int j = 0; j < STAGES; j++) sum += a[s * STAGES + j] * slopes[j][m];
                at[moving_state[m]] = y[moving_state[m]] + h * sum;
            }
            velocity(c, k, at, w, new_slopes[s]);
        }
        for (int s = 0; s < STAGES; s++)
            for (int m = 0; m < MOVING; m++) {
                change += magnitude(h * (new_slopes[s][m] - slopes[s][m]));
                slopes[s][m] = new_slopes[s][m];
            }
        for (int i = 0; i < LANES; i++) {
            /* rounding has stopped it */
            if (change[i] == 0 || (change[i] >= before[i] && change[i] <= 1e-13 * scale[i]))
                open[i] = 0;
            any |= open[i];
        }
        before = change;
        if (!any) break;
    }
    for (int i = 0; i < LANES; i++) failed[i] = !(before[i] <= 1e-12 * scale[i]);
    for (int m = 0; m < MOVING; m++) {
        V sum = zero;
        for (int s = 0; s < STAGES; s++) sum += b[s] * slopes[s][m];
        increment[m] = h * sum;
    }
}

/* Whether an event has happened at y in each lane: its number in event_slot, else -1. */
static void happened(V *c, V *k, const V *y, const double *w, const V *first, int *which) {
    start(c, k, NULL, 0, y, w);
    for (int i = 0; i < LANES; i++) which[i] = -1;
    for (int e = EVENTS - 1; e >= 0; e--)
        for (int i = 0; i < LANES; i++) {
            const double value = c[event_slot[e]][i], sign = e < WATCHED || first[e][i] > 0 ? 1 : -1;
            if ((e < WATCHED || first[e][i] != 0) && sign * value <= 0) which[i] = e;
        }
}

/* Solutions of y' = f(y, w) from `initial` (count, STATES) at the increasing |times| (wanted), by
 * steps of `length`; a time between two steps is reached by a shorter step aside. `a`, `b` are the
 * method's, `extrapolation` carries slopes to the next step. Returns 0, or 1 without memory. */
int integrate(int64_t count, int64_t wanted, double length, double direction, const double *a,
              const double *b, const double *extrapolation, const double *initial, const double *w,
              const double *times, double *states, int32_t *status, int32_t *event,
              double *event_time, int64_t *steps) {
    const size_t size =
        sizeof(V) * ((size_t)2 * SERIES + FIXED + 4 * STATES + 2 * (MOVING + 1) + EVENTS + 1);
    V *c = aligned_alloc(sizeof(V), size);
    if (!c) return 1;
    V *k = c + 2 * SERIES, *y = k + FIXED, *rest = y + STATES, *at = rest + STATES;
    V *aside = at + STATES, *increment = aside + STATES, *shorter = increment + MOVING + 1;
    V *first = shorter + MOVING + 1;
    const double end = times[wanted - 1];
    for (int64_t block = 0; block < count; block += LANES) {
        V slopes[STAGES][MOVING + 1], guess[STAGES][MOVING + 1];
        int open[LANES], failed[LANES], which[LANES], living = 0;
        memset(c, 0, size);
        for (int i = 0; i < LANES; i++) {
            open[i] = block + i < count;
            living += open[i];
            const int64_t from = open[i] ? block + i : block;
            for (int n = 0; n < STATES; n++) y[n][i] = initial[from * STATES + n];
        }
        velocity(c, k, y, w, slopes[0]);
        for (int s = 1; s < STAGES; s++) memcpy(slopes[s], slopes[0], sizeof slopes[0]);
        for (int e = 0; e < EVENTS; e++) first[e] = c[event_slot[e]];
        int64_t next = 0;
        for (int64_t taken = 0; living; taken++) {
            const double t = (double)taken * length;
            while (next < wanted && times[next] < t + length) {
                for (int n = 0; n < STATES; n++) aside[n] = y[n];
                if (times[next] > t) {
                    const V h = zero + direction * (times[next] - t);
                    memcpy(guess, slopes, sizeof slopes);
                    step(c, k, y, w, h, a, b, guess, shorter, at, failed);
                    for (int m = 0; m < MOVING; m++) aside[moving_state[m]] += shorter[m];
                }
                for (int i = 0; i < LANES; i++)
                    if (open[i])
                        for (int n = 0; n < STATES; n++)
                            states[((block + i) * wanted + next) * STATES + n] = aside[n][i];
                next++;
            }
            /* the last step may end past the last time, as an event before it still counts */
            if (t >= end) {
                for (int i = 0; i < LANES; i++)
                    if (open[i]) steps[block + i] = taken;
                break;
            }
            const double h = direction * length;
            step(c, k, y, w, zero + h, a, b, slopes, increment, at, failed);
            for (int n = 0; n < STATES; n++) aside[n] = y[n];
            for (int m = 0; m < MOVING; m++) aside[moving_state[m]] += increment[m];
            happened(c, k, aside, w, first, which);
            for (int i = 0; i < LANES; i++) {
                if (!open[i]) continue;
                const int64_t g = block + i;
                double moment = t, sum = 0;
                for (int n = 0; n < STATES; n++) sum += aside[n][i] * 0.0;
                if (sum != 0 || failed[i]) {
                    status[g] = sum != 0 ? BLEW_UP : STEP_TOO_LONG;
                } else if (which[i] >= 0) {
                    /* the time by bisection of the step's length */
                    double low = 0, high = length;
                    int last = which[i];
                    for (int halving = 0; halving < 50; halving++) {
                        const double middle = low + (high - low) / 2;
                        int unused[LANES], now[LANES];
                        memcpy(guess, slopes, sizeof slopes);
                        step(c, k, y, w, zero + direction * middle, a, b, guess, shorter, at,
                             unused);
                        for (int n = 0; n < STATES; n++) at[n] = y[n];
                        for (int m = 0; m < MOVING; m++) at[moving_state[m]] += shorter[m];
                        happened(c, k, at, w, first, now);
                        if (now[i] < 0) {
                            low = middle;
                        } else {
                            high = middle;
                            last = now[i];
                        }
                    }
                    moment = t + high;
                    if (moment >= end) continue;
                    status[g] = last < WATCHED ? LEFT : KINK;
                    event[g] = event_number[last];
                } else
                    continue;
                event_time[g] = moment;
                steps[g] = taken + 1;
                open[i] = 0;
                living--;
                /* what was written aside, past the event, is taken back */
                for (int64_t j = 0; j < wanted; j++)
                    if (times[j] >= moment && times[j] < t + length)
                        for (int n = 0; n < STATES; n++)
                            states[(g * wanted + j) * STATES + n] = NAN;
            }
            for (int m = 0; m < MOVING; m++) {
                const int n = moving_state[m];
                const V add = increment[m] + rest[n], total = y[n] + add;
                rest[n] = add - (total - y[n]);
                y[n] = total;
            }
            memcpy(guess, slopes, sizeof slopes);
            for (int s = 0; s < STAGES; s++)
                for (int m = 0; m < MOVING; m++) {
                    V sum = zero;
                    for (int j = 0; j < STAGES; j++)
                        sum += extrapolation[s * STAGES + j] * guess[j][m];
                    slopes[s][m] = sum;
                }
            /* a lane that has ended would keep the iteration going: it starts again, unseen */
            for (int i = 0; i < LANES; i++) {
                if (open[i] || block + i >= count) continue;
                for (int n = 0; n < STATES; n++) {
                    y[n][i] = initial[(block + i) * STATES + n];
                    rest[n][i] = 0;
                }
                for (int s = 0; s < STAGES; s++)
                    for (int m = 0; m < MOVING; m++) slopes[s][m][i] = 0;
            }
        }
    }
    free(c);
    return 0;
}
