/* Lets libFuzzer guide itself by what gcc instruments. gcc reports each basic block by a call (-fsanitize-coverage=trace-pc), libFuzzer
 * reads arrays of 8-bit counters, as clang makes them: so count the calls in such an array. Comparisons (trace-cmp) have the same
 * functions in both, and are passed on. Preload this before libasan, which has functions of the same names that do nothing. */
#include <stddef.h>
#include <stdint.h>

#define BITS 13     /* few: libFuzzer clears and reads all of them at each execution */

static uint8_t counters[1 << BITS];

void __sanitizer_cov_trace_pc(void)
{
    uintptr_t block = (uintptr_t)__builtin_return_address(0);
    counters[(uint32_t)(block * 0x9E3779B1u) >> (32 - BITS)]++;
}

uint8_t *coverage_begin(void) { return counters; }
uint8_t *coverage_end(void) { return counters + (1 << BITS); }

/* A tail call: libFuzzer takes the return address for the place of the comparison. */
#define PASS_ON(name, type)                                                                                             \
    static void (*on_##name)(type, type);                                                                               \
    void __sanitizer_cov_trace_##name(type a, type b)                                                                   \
    {                                                                                                                   \
        if (on_##name)                                                                                                  \
            on_##name(a, b);                                                                                            \
    }

PASS_ON(cmp1, uint8_t)
PASS_ON(cmp2, uint16_t)
PASS_ON(cmp4, uint32_t)
PASS_ON(cmp8, uint64_t)
PASS_ON(const_cmp1, uint8_t)
PASS_ON(const_cmp2, uint16_t)
PASS_ON(const_cmp4, uint32_t)
PASS_ON(const_cmp8, uint64_t)

static void (*on_switch)(uint64_t, uint64_t *);
void __sanitizer_cov_trace_switch(uint64_t value, uint64_t *cases)
{
    if (on_switch)
        on_switch(value, cases);
}

void __sanitizer_cov_trace_cmpf(float a, float b) { (void)a, (void)b; }
void __sanitizer_cov_trace_cmpd(double a, double b) { (void)a, (void)b; }

#define SLOT(name) { "__sanitizer_cov_trace_" #name, (void **)&on_##name }
static const struct { const char *name; void **slot; } slots[] = {
    SLOT(cmp1), SLOT(cmp2), SLOT(cmp4), SLOT(cmp8), SLOT(const_cmp1), SLOT(const_cmp2), SLOT(const_cmp4), SLOT(const_cmp8),
    SLOT(switch),
};

/* The name of the i-th function that is passed on, NULL after the last; and where it leads from now on. */
const char *coverage_name(size_t i) { return i < sizeof slots / sizeof *slots ? slots[i].name : NULL; }
void coverage_lead(size_t i, void *to) { *slots[i].slot = to; }
