#include "model/fence.h"
#include <stdio.h>
#include <stdlib.h>
int fence_read(const char *dir, int64_t *out, struct mup_error *err){char p[1200];FILE*f;(void)err;snprintf(p,1200,"%s/incarnation",dir);f=fopen(p,"r");*out=0;if(f){if(fscanf(f,"%ld",out)!=1)*out=0;fclose(f);}return 0;}
int fence_raise(const char *dir, int64_t n, struct mup_error *err){char p[1200];FILE*f;(void)err;snprintf(p,1200,"%s/incarnation",dir);f=fopen(p,"w");if(!f)return 3;fprintf(f,"%ld\n",n);fclose(f);return 0;}
