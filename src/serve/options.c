/* Where pages are served. */
#include <saelab/serve.h>

const sl_opt sl_serve_opts[] = {
    SL_OPT_STR(sl_serve_config, host, "127.0.0.1", "address to listen on; 0.0.0.0 lets everybody on the network in"),
    SL_OPT_INT(sl_serve_config, port, 8000, 0, 65535, "", "port to listen on; a busy one takes the next, 0 any free one"),
    SL_OPT_END
};
