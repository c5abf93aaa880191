#include <saelab/saelab.h>
#include <stdio.h>

int main(void)
{
    printf("saelab %s\n", sl_version());
    return 0;
}
