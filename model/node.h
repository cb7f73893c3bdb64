/* The name of the machine that this process runs on. */
#ifndef MODEL_NODE_H
#define MODEL_NODE_H

#define NODE_NAME_BYTES 64

/* SLURMD_NODENAME, else the host's name: a word, never empty.  SLURM's name
 * is what a supervisor knows a node by, and some hosts share one. */
void node_name(char out[NODE_NAME_BYTES]);

#endif
