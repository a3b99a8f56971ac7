/* An adaptive Taylor method for several solutions at a time, each with its own step.
 *
 * Jorba, Zou, "A software package for the numerical integration of ODEs by means of high-order
 * Taylor methods", Experimental Mathematics 14 (2005). Tangent vectors follow z' = (df/dy) z.
 * A lane whose solution ends takes up the next one. Comes after ``lanes.c`` and the generated
 * functions `start` (orders 0 and 1) and `raise` (one order more).
 */
/* log2 of numbers >= 0 and 2^x, to 1e-4: enough to choose a step */
static inline V log2_rough(V x) {
    const I bits = (I)x;
    const V f = (V)((bits & 0x000fffffffffffffLL) | 0x3ff0000000000000LL);
    const V fraction =
        -2.7417939 + f * (2.8212026 + f * (-1.4699568 + f * (0.44717955 - f * 0.056570851)));
    return __builtin_convertvector(bits >> 52, V) - 1022.0 + fraction;
}
static inline double exp2_rough(double x) { return x < -1000 ? 0 : x > 1000 ? 1e300 : exp2(x); }

#define WIDTH (STATES * (1 + TANGENTS))
enum { DONE, LEFT, BLEW_UP, STEP_LIMIT, KINK };

/* The step of every lane: the last two terms of each group stay below the tolerance, relative to
 * the group's size now or to how far it moves. NaN where a coefficient is not finite. */
static V limit_step(V step, V size, V speed, V before_last, V last, int order, double log_tolerance) {
    const V log_size = log2_rough(size) + log_tolerance;
    const V log_speed = log2_rough(speed) + log_tolerance;
    const V terms[2] = {before_last, last};
    for (int j = 0; j < 2; j++) {
        /* no limit from a term that vanishes */
        const V log_term = v_select(truth(terms[j] > zero), log2_rough(terms[j]), zero - 1e6);
        const double n = order - 1 + j;
        const V a = (log_size - log_term) / n, b = (log_speed - log_term) / (n - 1);
        const V larger = v_select(truth(a > b), a, b);
        step = v_select(truth(larger < step), larger, step);
    }
    return step + (size + speed + before_last + last) * 0.0;
}

static V choose_step(const V *c, const V *d, int order, double log_tolerance) {
    const int orders[4] = {0, 1, order - 1, order};
    V step = zero + 1000.0;
    for (int g = 0; g < GROUPS; g++) {
        V sum[4] = {zero, zero, zero, zero};
        for (int i = group_start[g]; i < group_start[g + 1]; i++)
            for (int j = 0; j < 4; j++) sum[j] += magnitude(c[orders[j] * SERIES + group_slot[i]]);
        step = limit_step(step, sum[0], sum[1], sum[2], sum[3], order, log_tolerance);
    }
    /* components of the tangents come first in `d`, grouped as the states are */
    for (int g = 0; TANGENTS && g < ROW_GROUPS; g++) {
        V sum[4] = {zero, zero, zero, zero};
        for (int q = 0; q < TANGENTS; q++)
            for (int j = 0; j < 4; j++) {
                const V *z = d + ((long)q * (order + 1) + orders[j]) * ROWS;
                for (int i = row_start[g]; i < row_start[g + 1]; i++) sum[j] += magnitude(z[i]);
            }
        step = limit_step(step, sum[0], sum[1], sum[2], sum[3], order, log_tolerance);
    }
    V chosen;
    for (int i = 0; i < LANES; i++) chosen[i] = step[i] != step[i] ? NAN : exp2_rough(step[i]);
    return chosen;
}

static double polynomial(const double *m, int degree, double x) {
    double r = m[degree];
    for (int l = degree - 1; l >= 0; l--) r = r * x + m[l];
    return r;
}

/* The first zero on (a, b] of a polynomial that is positive at a, -1 where there is none.
 * It lies above its chord less curvature * (b - a)^2 / 8. */
static double search(const double *m, int degree, double a, double fa, double b, double fb,
                     double curvature, double smallest) {
    const double width = b - a;
    if (fb > 0 && fmin(fa, fb) > curvature * width * width / 8) return -1;
    if (width < smallest) return fb > 0 ? -1 : b;
    const double middle = a + width / 2, fm = polynomial(m, degree, middle);
    const double found = search(m, degree, a, fa, middle, fm, curvature, smallest);
    return found >= 0 ? found : search(m, degree, middle, fm, b, fb, curvature, smallest);
}

/* The first zero of an event on [0, h], -1 where there is none. A kink has either sign. */
static double first_zero(double *m, int degree, double h, int kink) {
    double curvature = 0, power = 1, rest = 0;
    if (kink && m[0] < 0)
        for (int l = 0; l <= degree; l++) m[l] = -m[l];
    for (int l = 1; l <= degree; l++) rest += fabs(m[l]);
    if (m[0] <= 0) return kink && rest == 0 ? -1 : 0;
    for (int l = 2; l <= degree; l++, power *= h) curvature += l * (l - 1) * fabs(m[l]) * power;
    return search(m, degree, 0, m[0], h, polynomial(m, degree, h), curvature, h * 0x1p-50);
}

/* The value (and slope) at s of one series, in one lane. */
static void evaluate(const V *series, long stride, int order, int lane, double s, double *value,
                     double *slope) {
    double r = 0, d = 0;
    if (s == 0) order = 1; /* the start of a geodesic is often wanted */
    for (int l = order; l >= 1; l--) {
        r = r * s + series[l * stride][lane];
        d = d * s + l * series[l * stride][lane];
    }
    *value = r * s + series[0][lane];
    if (slope) *slope = d;
}

static V horner(const V *series, long stride, int order, V s) {
    V r = series[order * stride];
    for (int l = order - 1; l >= 0; l--) r = r * s + series[l * stride];
    return r;
}

/* Solutions of y' = f(y, w) and of their tangents from `initial` (count, WIDTH) at the increasing |times| (wanted),
 * forward or backward by `direction`. What is not reached stays as `states` (and `rates`, which
 * may be NULL) came. Returns 0, or 1 where there is no memory. */
int integrate(int64_t count, int64_t wanted, int order, double tolerance, int64_t max_steps,
              double direction, const double *initial, const double *w, const double *times,
              double *states, double *rates, int32_t *status, int32_t *event, double *event_time,
              int64_t *steps) {
    const long stride = (long)(order + 1) * ROWS;
    const size_t size =
        sizeof(V) * ((size_t)(order + 1) * SERIES + FIXED + 2 * WIDTH + TANGENTS * stride);
    V *c = aligned_alloc(sizeof(V), size);
    if (!c) return 1;
    memset(c, 0, size);
    V *k = c + (order + 1) * SERIES, *y = k + FIXED, *reached = y + WIDTH, *d = reached + WIDTH;
    double t[LANES], rest[LANES], margin[128];
    int64_t lane[LANES], next[LANES], taken[LANES], pending = 0;
    const double end = times[wanted - 1], log_tolerance = log2(tolerance);
    int active = 0;
    for (int i = 0; i < LANES; i++) lane[i] = -1;
    for (;;) {
        for (int i = 0; i < LANES; i++) {
            while (lane[i] < 0 && pending < count) {
                const int64_t b = pending++;
                for (int n = 0; n < WIDTH; n++) y[n][i] = initial[b * WIDTH + n];
                status[b] = DONE;
                t[i] = rest[i] = 0;
                next[i] = taken[i] = 0;
                lane[i] = b;
                active++;
            }
            if (lane[i] < 0)
                for (int n = 0; n < WIDTH; n++) y[n][i] = initial[n];
        }
        if (!active) break;
        for (int q = 0; q < TANGENTS; q++)
            for (int n = 0; n < STATES; n++) d[q * stride + n] = y[(q + 1) * STATES + n];
        start(c, k, d, stride, y, w);
        for (int l = 1; l < order; l++) raise(c, k, d, stride, w, l);
        V h = choose_step(c, d, order, log_tolerance);
        int ending[LANES];
        for (int i = 0; i < LANES; i++) {
            const int64_t b = lane[i];
            ending[i] = 0;
            if (b < 0) { h[i] = 0; continue; }
            const double left = (end - t[i]) - rest[i];
            if (left <= 0) { h[i] = 0; ending[i] = 1; continue; }
            if (!(h[i] > DBL_EPSILON * t[i])) { /* also where it is NaN */
                status[b] = BLEW_UP;
                event_time[b] = t[i];
                event[b] = -1;
                h[i] = -1;
            } else if (taken[i] >= max_steps) {
                status[b] = STEP_LIMIT;
                event_time[b] = t[i];
                event[b] = -1;
                h[i] = -1;
            } else if (h[i] >= left) {
                h[i] = left;
                ending[i] = 1;
            }
        }
        const V signed_step = h * direction;
        for (int e = 0; e < EVENTS; e++) {
            V bound = zero;
            for (int l = order - 1; l >= 1; l--)
                bound = (bound + magnitude(c[l * SERIES + event_slot[e]])) * h;
            for (int i = 0; i < LANES; i++) {
                const int64_t b = lane[i];
                if (b < 0 || h[i] < 0 || fabs(c[event_slot[e]][i]) > bound[i]) continue;
                if (e < WATCHED ? 0 : c[event_slot[e]][i] == 0 && bound[i] == 0) continue;
                for (int l = 0; l < order; l++)
                    margin[l] = c[l * SERIES + event_slot[e]][i] * (l % 2 ? direction : 1.0);
                const double zero_at = first_zero(margin, order - 1, h[i], e >= WATCHED);
                if (zero_at < 0 || (status[b] != DONE && t[i] + zero_at >= event_time[b])) continue;
                status[b] = e < WATCHED ? LEFT : KINK;
                event_time[b] = t[i] + zero_at;
                event[b] = event_number[e];
            }
        }
        for (int n = 0; n < STATES; n++) reached[n] = y[n]; /* those that do not move */
        for (int s = 0; s < MOVING; s++)
            reached[moving_state[s]] = horner(c + s, SERIES, order, signed_step);
        for (int q = 0; q < TANGENTS; q++)
            for (int n = 0; n < STATES; n++)
                reached[(q + 1) * STATES + n] = horner(d + q * stride + n, ROWS, order, signed_step);
        for (int i = 0; i < LANES; i++) {
            const int64_t b = lane[i];
            if (b < 0) continue;
            taken[i]++;
            const double until = status[b] == DONE ? t[i] + h[i] : event_time[b];
            for (; next[i] < wanted; next[i]++) {
                const double at = times[next[i]];
                const int at_end = status[b] == DONE && ending[i] && at == end;
                if (status[b] == DONE ? !ending[i] && at > until : at >= until) break;
                const double s = at_end ? signed_step[i] : direction * ((at - t[i]) - rest[i]);
                double *out = states + (b * wanted + next[i]) * WIDTH;
                double *rate = rates ? rates + (b * wanted + next[i]) * WIDTH : NULL;
                for (int n = 0; n < WIDTH; n++) out[n] = at_end ? reached[n][i] : y[n][i];
                if (rate)
                    for (int n = 0; n < WIDTH; n++) rate[n] = 0;
                for (int m = 0; m < MOVING && (rate || !at_end); m++) {
                    const int n = moving_state[m];
                    evaluate(c + m, SERIES, order, i, s, out + n, rate ? rate + n : NULL);
                }
                for (int n = STATES; n < WIDTH && (rate || !at_end); n++) {
                    const V *series = d + (n / STATES - 1) * stride + n % STATES;
                    evaluate(series, ROWS, order, i, s, out + n, rate ? rate + n : NULL);
                }
            }
            if (status[b] != DONE || ending[i]) {
                steps[b] = taken[i];
                lane[i] = -1;
                active--;
                continue;
            }
            /* compensated, as long times take many steps */
            const double add = h[i] + rest[i], sum = t[i] + add;
            rest[i] = add - (sum - t[i]);
            t[i] = sum;
            for (int n = 0; n < WIDTH; n++) y[n][i] = reached[n][i];
        }
    }
    free(c);
    return 0;
}
