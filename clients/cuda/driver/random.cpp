// The part of cuRAND that is called: a generator is made with each handle to a card. Nobody asks it for numbers, since
// pictures have to be the same on every device; so it has none.
#include "driver.h"

#include <cstdlib>

CARD int curandCreateGenerator(void **generator, int) {
    *generator = malloc(16);
    return 0;
}
CARD int curandDestroyGenerator(void *generator) {
    free(generator);
    return 0;
}
CARD int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
CARD int curandSetGeneratorOffset(void *, unsigned long long) { return 0; }
CARD int curandSetStream(void *, void *) { return 0; }
